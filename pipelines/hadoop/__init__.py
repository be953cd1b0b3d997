"""A Hadoop and a Spark cluster of real daemons: one process each, on one machine or in containers."""
