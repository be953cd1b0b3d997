"""From requests to calls of a model: admission, deadlines, batching, and reporting bad rows."""
