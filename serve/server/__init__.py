"""The server process: the application, its workers, reloading, its start and end."""
