"""Builders of trunks. A trunk is the part of a model from encoded inputs to scores."""
