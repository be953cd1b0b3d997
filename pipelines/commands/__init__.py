"""The command line ``millrace``."""
