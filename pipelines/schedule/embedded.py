"""The embedded scheduler: one process that runs every entry of a product when it is due."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final

from millrace.errors import Unavailable
from millrace.logs import add_context
from pipelines.jobs.interrupts import Interrupts
from pipelines.schedule.runner import Runner

logger = logging.getLogger(__name__)

STAGE: Final = "schedule"
"""Stage name of its log lines."""
RETRY_S: Final = 15.0
"""Seconds until the next step after the store was unavailable."""


class Embedded:
    """Runs each entry on APScheduler's threads. A step returns when the next one is due, so steps never overlap.

    Args:
        runners: One runner for each entry.
    """

    def __init__(self, runners: Sequence[Runner]) -> None:
        from apscheduler.executors.pool import ThreadPoolExecutor as Threads
        from apscheduler.schedulers.background import BackgroundScheduler

        self._runners = runners
        self._scheduler = BackgroundScheduler(timezone=UTC, executors={"default": Threads(len(runners))})
        self._ended = threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        """Work until a signal comes; then end the running stages, which the next scheduler starts again.

        Raises:
            Terminated: SIGTERM came; SIGINT raises KeyboardInterrupt.
            MillraceError: An entry failed with an error that a retry cannot fix.
        """
        with Interrupts():
            try:
                self._scheduler.start()
                for runner in self._runners:
                    self._schedule(runner, 0)
                self._ended.wait()
            finally:
                self._stop()
        if self._error:
            raise self._error

    def _schedule(self, runner: Runner, wait_s: float) -> None:
        self._scheduler.add_job(
            self._step,
            "date",
            run_date=datetime.now(UTC) + timedelta(seconds=wait_s),
            args=[runner],
            misfire_grace_time=None,
        )

    def _step(self, runner: Runner) -> None:
        add_context(stage=STAGE)  # a new thread has no context
        wait_s = RETRY_S
        try:
            wait_s = runner.step()
        except Unavailable as error:
            logger.warning("%s: %s; retrying in %.0f s", runner.name, error, RETRY_S)
        except BaseException as error:  # the main thread raises it
            self._error = error
            self._ended.set()
            return
        if not self._ended.is_set():
            self._schedule(runner, wait_s)

    def _stop(self) -> None:
        self._ended.set()
        # APScheduler's thread fails if it is shut down between starting a job and removing it.
        self._scheduler.pause()
        self._scheduler.remove_all_jobs()
        self._scheduler.shutdown(wait=False)
        with ThreadPoolExecutor(len(self._runners)) as threads:
            for runner in self._runners:
                threads.submit(self._end, runner)

    def _end(self, runner: Runner) -> None:
        add_context(stage=STAGE)
        try:
            runner.stop()
        except Unavailable as error:
            logger.warning("%s: %s; the next scheduler will record the run as interrupted", runner.name, error)
