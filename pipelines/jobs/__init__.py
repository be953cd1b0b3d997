"""Launchers: the command line, the spark-submit entries, the Spark session."""
