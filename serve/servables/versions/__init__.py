"""The versions of one model: which are loaded, which one answers, and which cannot be loaded."""
