"""JVM options for the tests: most JVMs live for half a minute, one for a whole run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

QUICK: Final = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""The optimizing compiler and a parallel collector cost more than they save in half a minute on two cores."""
LONG: Final = "-XX:+UseSerialGC"
"""Spark's planning, most of a small ingest, takes a fifth less with the optimizing compiler after some minutes."""
_VARIABLE: Final = "JDK_JAVA_OPTIONS"


def start_quickly() -> None:
    """Set JVM options for this process and its children that favour a fast start over peak speed."""
    os.environ.setdefault(_VARIABLE, QUICK)


@contextmanager
def for_long() -> Iterator[None]:
    """A JVM that starts in this block gets options for a long life."""
    quick = os.environ[_VARIABLE]
    os.environ[_VARIABLE] = quick.replace(QUICK, LONG)
    try:
        yield
    finally:
        os.environ[_VARIABLE] = quick
