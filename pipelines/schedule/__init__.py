"""Stages by the clock: what is due is read from a log in the store, and started as processes of their own."""
