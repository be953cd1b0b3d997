"""Loads YAML documents with the line of every key, so that errors can name the line."""
