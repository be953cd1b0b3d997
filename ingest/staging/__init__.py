"""Stages source files for Spark: unpacked, in UTF-8, under generated names."""
