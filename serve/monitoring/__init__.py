"""Metrics, and the ids of requests in logs."""
