"""What every room of ingest needs of Spark: column names, errors, work on executors."""
