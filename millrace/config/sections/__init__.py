"""The typed sections of a product file and of a profile."""
