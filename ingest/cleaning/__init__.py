"""The cleaning steps of a product file, as Spark transformations."""
