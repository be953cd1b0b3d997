"""Builders of trunks: the part of a model behind the encoded inputs."""
