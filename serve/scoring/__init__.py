"""A table through a model version, into the table of predictions."""
