"""YAML documents that know the line of every key, and errors that name it."""
