"""Benchmarks of quality and speed; each is compared with a reference that the same run measures."""
