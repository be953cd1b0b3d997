"""Starts the Horovod ranks; contains the program of a rank."""
