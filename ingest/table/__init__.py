"""The clean table: arranges and splits its rows, finds new files, commits a version."""
