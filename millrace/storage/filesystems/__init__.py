"""The file systems of a store: their common interface, a local disk, and HDFS without a JVM."""
