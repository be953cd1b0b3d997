"""Starts the Horovod ranks, and what each one does."""
