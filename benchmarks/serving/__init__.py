"""Benchmarks of the service (``make bench-serve``) against a no-op route, other servers, and a direct call."""
