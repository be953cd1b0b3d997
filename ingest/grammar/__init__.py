"""Decides whether a text is a value of a declared type. docs/sources.md has the same grammar in words.

Spark's own parsers accept more than people mean: a date with anything behind it, a time without a date, ``123d`` as a
number. So a text must first match the pattern of its type. Only then Spark converts it.
"""
