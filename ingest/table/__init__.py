"""The clean table: how its rows are arranged and split, and how a version is committed."""
