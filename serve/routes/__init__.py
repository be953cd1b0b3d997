"""Routes, a file for each protocol: a request in, one call, a response out."""
