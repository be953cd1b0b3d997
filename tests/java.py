"""JVM options for the tests: most JVMs live for half a minute, one for a whole run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

QUICK: Final = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:MetaspaceSize=256m"
"""The optimizing compiler, a parallel collector and collections while classes are loaded cost more than they save in
half a minute on two cores."""
LONG: Final = (
    "-XX:+UseSerialGC -XX:MetaspaceSize=256m -Xmn400m"
    " -XX:Tier4InvocationThreshold=20000 -XX:Tier4MinInvocationThreshold=2500"
    " -XX:Tier4CompileThreshold=60000 -XX:Tier4BackEdgeThreshold=160000"
)
"""The optimizing compiler works only on what is called four times as often as by default: by default it takes a third
of the processor time."""
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
