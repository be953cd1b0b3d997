"""Looks into the store now and then, so that a version published while the service runs is served without a restart."""

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
"""Share of the interval: many servers that started together shall not ask the store together."""


class Reloader:
    """A thread that refreshes the models until it is stopped.

    Args:
        manager: The models.
        metrics: Where reloads are counted.
        interval_s: About how long to wait between two looks.
        sizes_of: Sizes of the batches that a model answers now.
        reread: The models to serve, if their configuration has changed since the last call.
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
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a version that is being loaded is not waited for."""
        self._done.set()

    def look(self) -> None:
        """Look once."""
        try:
            models = self._reread()
        except ConfigError as error:
            logger.error("the changed configuration is not taken, the old one stays: %s", error)
        else:
            if models is not None:
                self._manager.configure(models)
                logger.info("the configuration has changed: served now: %s", ", ".join(self._manager.names))
        reachable = True
        for name in self._manager.names:
            try:
                outcome = self._manager.refresh(name, self._sizes_of(name))
            except (Unavailable, ConfigError) as error:
                reachable = False
                logger.warning("the model store cannot be read, what is loaded goes on answering: %s", error)
                break
            if outcome:
                self._metrics.count_reload(name, outcome)
        self._metrics.set_reachable(reachable)

    def _run(self) -> None:
        while not self._done.wait(self._interval_s * random.uniform(1 - JITTER, 1 + JITTER)):  # noqa: S311 - no secret
            try:
                self.look()
            except Exception:  # the edge of this thread: whatever it is, the next look may find it gone
                logger.exception("a bug while looking for new versions")
