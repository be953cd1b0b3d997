"""Evaluates a model: metrics, slices, gates."""
