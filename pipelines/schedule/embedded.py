"""The embedded scheduler: one process that steps every entry of a product when its time has come."""

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
"""What stands in the log for its lines."""
AWAY_S: Final = 15.0
"""Until the next look, where the store did not answer."""


class Embedded:
    """Runners on APScheduler's threads: each step says when the next one is to come, so an entry has one at a time.

    Args:
        runners: One for each entry.
    """

    def __init__(self, runners: Sequence[Runner]) -> None:
        from apscheduler.executors.pool import ThreadPoolExecutor as Threads
        from apscheduler.schedulers.background import BackgroundScheduler

        self._runners = runners
        self._scheduler = BackgroundScheduler(timezone=UTC, executors={"default": Threads(len(runners))})
        self._ended = threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        """Work until a signal comes; then what runs is ended, to be begun again by the next scheduler.

        Raises:
            Terminated: SIGTERM came; SIGINT raises KeyboardInterrupt.
            MillraceError: An entry cannot be worked on, and no waiting mends it.
        """
        with Interrupts():
            try:
                self._scheduler.start()
                for runner in self._runners:
                    self._later(runner, 0)
                self._ended.wait()
            finally:
                self._stop()
        if self._error:
            raise self._error

    def _later(self, runner: Runner, wait_s: float) -> None:
        self._scheduler.add_job(
            self._step,
            "date",
            run_date=datetime.now(UTC) + timedelta(seconds=wait_s),
            args=[runner],
            misfire_grace_time=None,
        )

    def _step(self, runner: Runner) -> None:
        add_context(stage=STAGE)  # a thread begins without one
        wait_s = AWAY_S
        try:
            wait_s = runner.step()
        except Unavailable as error:
            logger.warning("%s: %s; looking again in %.0f s", runner.name, error, AWAY_S)
        except BaseException as error:  # the main thread raises it
            self._error = error
            self._ended.set()
            return
        if not self._ended.is_set():
            self._later(runner, wait_s)

    def _stop(self) -> None:
        self._ended.set()
        # The library's thread fails if it is shut down between starting a job and forgetting it.
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
            logger.warning("%s: %s; the next scheduler finds that the run is gone", runner.name, error)
