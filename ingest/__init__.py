"""Ingest: declared sources become one checked version of the clean table."""
