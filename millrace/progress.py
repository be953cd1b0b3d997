"""Shows the progress of long work: a bar in a terminal, else a log line from time to time."""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

logger = logging.getLogger(__name__)

LINE_EVERY_S: Final = 5.0
"""Shortest time between two log lines."""


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show the progress of a piece of work.

    Yields:
        A function to call with the amount that is done so far, out of `total`.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda done: bar.update(task, completed=done)
        return
    last = time.monotonic()

    def line(done: int) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY_S:
            last = time.monotonic()
            logger.info("%s: %d of %d", what, done, total)

    yield line
