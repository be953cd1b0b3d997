"""The scheduler: reads from a log in the store what is due, and starts each stage as a process."""
