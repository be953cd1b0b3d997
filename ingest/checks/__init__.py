"""The checks that the cleaned rows must pass before they become the next version of the table."""
