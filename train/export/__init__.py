"""Writes the SavedModel, and checks its outputs in a new process."""
