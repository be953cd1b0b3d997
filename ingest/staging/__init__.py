"""Brings source files to where Spark can read them: unpacked, in UTF-8, under names of our own."""
