"""The rows of a rank: which rows each rank reads, in which order, in which batches, and what it keeps in memory."""
