"""Runs a Hadoop and Spark cluster: one process for each daemon, on one machine or in containers."""
