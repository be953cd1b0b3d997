"""Writes the SavedModel, and replays it in a fresh process."""
