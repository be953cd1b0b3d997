"""Contracts between the stages, and their launchers."""
