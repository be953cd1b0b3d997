"""The rows of a rank: which they are, how they are read, cut into batches and kept."""
