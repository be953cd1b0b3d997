"""Table versions: found in Delta's log, read by row ranges, checked for ingest's verdict."""
