"""Checks the store for new versions at intervals, and serves them without a restart."""

import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from millrace.config.sections.serve import ServedModel
from millrace.errors import ConfigError, Unavailable
from serve.monitoring.metrics import Metrics
from serve.servables.manager import ServableManager

logger = logging.getLogger(__name__)

JITTER: Final = 0.2
"""Share of the interval, so that servers that started together do not read the store at the same time."""


class Reloader:
    """A thread that refreshes the models until it is stopped.

    Args:
        manager: The models.
        metrics: Counts the reloads.
        interval_s: Seconds between two checks, plus or minus `JITTER`.
        sizes_of: Returns the sizes of a model's batches so far, for the warm-up.
        reread: Returns the models to serve if their configuration has changed since the last call, else None.
    """

    def __init__(
        self,
        manager: ServableManager,
        metrics: Metrics,
        interval_s: float,
        sizes_of: Callable[[str], Sequence[int]] = lambda _: (),
        reread: Callable[[], Mapping[str, ServedModel] | None] = lambda: None,
    ) -> None:
        self._reread = reread
        self._sizes_of = sizes_of
        self._manager = manager
        self._metrics = metrics
        self._interval_s = interval_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reload", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread. It does not wait for a version that is being loaded."""
        self._done.set()

    def check(self) -> None:
        """Check once."""
        try:
            models = self._reread()
        except ConfigError as error:
            logger.error("the changed configuration has an error, the old one is still used: %s", error)
        else:
            if models is not None:
                self._manager.configure(models)
                logger.info("the configuration has changed; models served now: %s", ", ".join(self._manager.names))
        reachable = True
        for name in self._manager.names:
            try:
                outcome = self._manager.refresh(name, self._sizes_of(name))
            except (Unavailable, ConfigError) as error:
                reachable = False
                logger.warning("the model store cannot be read; the loaded versions continue to answer: %s", error)
                break
            if outcome:
                self._metrics.count_reload(name, outcome)
        self._metrics.set_reachable(reachable)

    def _run(self) -> None:
        while not self._done.wait(self._interval_s * random.uniform(1 - JITTER, 1 + JITTER)):  # noqa: S311 - no secret
            try:
                self.check()
            except Exception:  # a bug must not end this thread; the next check may succeed
                logger.exception("a bug while checking for new versions")
