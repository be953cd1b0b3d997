"""Checks that need more than one section: columns, expectations, options."""
