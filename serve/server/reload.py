"""Loads the models, then checks the store for new versions at intervals, and serves them without a restart."""

import logging
import random
import threading
from collections.abc import Callable, Mapping
from typing import Final

from millrace.config.sections.serve import ServedModel
from millrace.errors import ConfigError, Unavailable
from serve.errors import ModelNotFound
from serve.monitoring.metrics import Metrics
from serve.servables.manager import ServableManager

logger = logging.getLogger(__name__)

WAIT_S: Final = 30.0
"""Seconds after which a check does not wait any more for models that are being loaded."""
JITTER: Final = 0.2
"""Share of the interval, so that servers that started together do not read the store at the same time."""


def _nothing() -> None:
    """Do nothing."""


class Reloader:
    """A thread that loads the models, then refreshes them until it is stopped.

    Args:
        manager: The models.
        metrics: Counts the reloads.
        interval_s: Seconds between two checks, plus or minus `JITTER`.
        reread: Returns the models to serve if their configuration has changed since the last call, else None.

    Attributes:
        error: Why the server cannot work.
    """

    def __init__(
        self,
        manager: ServableManager,
        metrics: Metrics,
        interval_s: float,
        reread: Callable[[], Mapping[str, ServedModel] | None] = lambda: None,
    ) -> None:
        self.error: Exception | None = None
        self._reread = reread
        self._on_loaded = self._on_failed = _nothing
        self._problems: dict[str, str] = {}
        """Why a model is not served; logged once each."""
        self._manager = manager
        self._metrics = metrics
        self._interval_s = interval_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reload", daemon=True)

    def start(self, on_loaded: Callable[[], None] = _nothing, on_failed: Callable[[], None] = _nothing) -> None:
        """Start the thread.

        Args:
            on_loaded: Called once, when the models were loaded or could not be loaded.
            on_failed: Called instead if the server cannot work; `error` says why.
        """
        self._on_loaded, self._on_failed = on_loaded, on_failed
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
        problems: list[str] = []
        for name, refreshed in self._manager.refresh_all(self._sizes_of, WAIT_S).items():
            try:
                outcome = refreshed.result()
            except (Unavailable, ConfigError) as error:
                problems.append(str(error))
            except ModelNotFound:
                continue  # the changed configuration does not name it any more
            except Exception:  # a bug must not prevent the other models from being refreshed
                logger.exception("a bug while checking for new versions of model %s", name)
            else:
                if outcome:
                    self._metrics.count_reload(name, outcome)
        for problem in dict.fromkeys(problems):
            logger.warning("the model store cannot be read; the loaded versions continue to answer: %s", problem)
        self._metrics.set_reachable(not problems)
        self._report()

    def _sizes_of(self, name: str) -> list[int]:
        """The sizes of a model's batches so far, in rows, for the warm-up of a newer version."""
        return sorted({rows for servable in self._manager.all_loaded(name) for rows in servable.statistics.sizes()})

    def _report(self) -> None:
        """Log which models are not served, and why, if that has changed."""
        problems = self._manager.problems
        for name in problems:
            if problems[name] != self._problems.get(name):
                logger.error("model %s is not served: %s", name, problems[name])
        for name in self._problems.keys() & set(self._manager.names):
            if name not in problems:
                logger.info("model %s is served now", name)
        self._problems = problems

    def _load(self) -> bool:
        try:
            self._manager.load()
        except Exception as error:  # the server reports it, and ends
            self.error = error
            self._on_failed()
            return False
        self._report()
        self._on_loaded()
        return True

    def _run(self) -> None:
        if not self._load():
            return
        while not self._done.wait(self._interval_s * random.uniform(1 - JITTER, 1 + JITTER)):  # noqa: S311 - no secret
            try:
                self.check()
            except Exception:  # a bug must not end this thread; the next check may succeed
                logger.exception("a bug while checking for new versions")
