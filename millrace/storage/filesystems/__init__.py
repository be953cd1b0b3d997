"""The file systems that a store can lie on: what it needs of them, a local disk, HDFS without a JVM."""
