"""From requests to calls of a model: who is let in, what shares a call, what becomes of a bad row."""
