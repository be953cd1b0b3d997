"""Spark helpers for all of ingest: column names and expressions, error mapping, work on executors."""
