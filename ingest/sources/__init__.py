"""The declared sources: found, staged, parsed, with what was rejected."""
