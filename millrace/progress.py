"""Progress of long work: a bar where there is a terminal, a line now and then where there is none."""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

logger = logging.getLogger(__name__)

LINE_EVERY_S: Final = 5.0
"""Least time between two lines when there is no terminal."""


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far a piece of work has come.

    Yields:
        A function that takes how much is done by now, out of `total`.
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
