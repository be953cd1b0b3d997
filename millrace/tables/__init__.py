"""Table versions: finds them in Delta's log, reads their rows, and checks that ingest validated them."""
