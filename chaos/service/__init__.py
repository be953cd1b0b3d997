"""Fault tests of the service."""
