"""Whether the cleaned rows may become the table's next version."""
