"""Checks that need more than pydantic: columns, expectations, reader options, options of the model builder."""
