"""Answers from a model version: online over HTTP, in batch on Spark."""
