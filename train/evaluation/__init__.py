"""Judges a model: metrics, slices, gates."""
