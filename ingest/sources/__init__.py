"""The declared sources: finds their files, checks and stages them, loads their rows and collects rejects."""
