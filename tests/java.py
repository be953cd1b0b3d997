"""How the many short-lived JVMs of the tests start."""

import os
from typing import Final

QUICK: Final = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""The second compiler and a parallel collector never repay their work in half a minute on two cores."""


def start_quickly() -> None:
    """Have every JVM that this process or its children start begin fast, rather than get fast."""
    os.environ.setdefault("JDK_JAVA_OPTIONS", QUICK)
