"""A model version in a process of its own, which is started anew when it crashed or hangs."""

import asyncio
import logging
import threading
import time
import weakref
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Final

from millrace.features.encoding import Encoded
from millrace.models.manifest import ModelDamaged
from serve.errors import InferenceFailed, InferenceLate, ModelNotReady
from serve.isolation.child import Load
from serve.isolation.offload import work
from serve.isolation.pipe import pack
from serve.isolation.process import Ended, ModelProcess
from serve.servables.servable import Arrays, Servable
from serve.servables.signatures import Signature

logger = logging.getLogger(__name__)

RETRY_AFTER_S: Final = 60.0
"""A process that could not be started again is not tried again before this."""


class IsolatedServable(Servable):
    """A model version in a process of its own, which ends with this object.

    Args:
        place: Names it in messages.
        load: Loads it; see `ModelProcess`.
        answer_within_s: How long one call of TensorFlow may take; a longer one ends its process.
        logs_json: Whether the process writes its log as JSON.

    Raises:
        Exception: Whatever `load` raised.
        ModelDamaged: The process ended while it loaded the model.
    """

    def __init__(self, place: str, load: Load, answer_within_s: float, *, logs_json: bool = False) -> None:
        self._logs_json = logs_json
        self._place = place
        self._load = load
        self._answer_within_s = answer_within_s
        self._process = self._start()
        self._lock = threading.Lock()
        self._failure: tuple[float, Exception] | None = None
        loaded = self._process.loaded
        super().__init__(loaded.origin, loaded.signatures, joins=loaded.joins)
        self._holder = [self._process]
        self._end = weakref.finalize(self, _end_all, self._holder)

    def close(self) -> None:
        """End the process."""
        self._end()

    @property
    def pid(self) -> int | None:
        """The number of the process that answers now."""
        return self._process.pid

    def answer(self, asked: Signature, columns: Mapping[str, Encoded], rows: int | None) -> Arrays:
        """All outputs for inputs that `check` has seen.

        A process that ends is started anew and asked once more: most likely another request was to blame.

        Raises:
            InvalidRequest: The graph of a model from elsewhere refused them.
            InferenceFailed: TensorFlow raised, or its process ended twice.
            InferenceLate: It took too long; the process was ended, for nothing else ends such a call.
            ModelNotReady: The process ended, and cannot be started again.
        """
        process, question = self._process, pack((asked.name, columns, rows))
        for _ in range(2):
            try:
                return process.ask(question)
            except TimeoutError as error:
                self._revive(process)
                raise self._too_late() from error
            except Ended:
                process = self._revive(process)
        raise self._ended_twice()

    async def answer_soon(
        self, executor: Executor, asked: Signature, columns: Mapping[str, Encoded], rows: int | None, size: int = 0
    ) -> Arrays:
        """All outputs while the event loop goes on; see `answer`."""
        loop, process = asyncio.get_running_loop(), self._process
        question = await work(executor, size, pack, (asked.name, columns, rows))
        for _ in range(2):
            try:
                return await process.ask_soon(question, executor)
            except TimeoutError as error:
                await loop.run_in_executor(executor, self._revive, process)
                raise self._too_late() from error
            except Ended:
                process = await loop.run_in_executor(executor, self._revive, process)
        raise self._ended_twice()

    def _too_late(self) -> InferenceLate:
        logger.error("a call of model %s took over %g s: its process ended", self.name, self._answer_within_s)
        return InferenceLate(self.name, self._answer_within_s)

    def _ended_twice(self) -> InferenceFailed:
        return InferenceFailed(self.name, self.version, "its process ended while it answered")

    def _revive(self, dead: ModelProcess) -> ModelProcess:
        """The process that follows one that has ended; of many callers one starts it."""
        with self._lock:
            if self._process is not dead:
                return self._process
            if self._failure and time.monotonic() - self._failure[0] < RETRY_AFTER_S:
                raise ModelNotReady(self.name, self.version, str(self._failure[1]))
            dead.end()
            started = time.monotonic()
            try:
                self._process = self._start()
            except Exception as error:
                self._failure = (time.monotonic(), error)
                logger.error("model %s version %d ended and cannot be started again", self.name, self.version)
                raise ModelNotReady(self.name, self.version, str(error)) from error
            self._holder[:] = [self._process]
            self._failure = None
            self.restarts += 1
            seconds = time.monotonic() - started
            logger.warning("model %s version %d ended, started again in %.1f s", self.name, self.version, seconds)
            return self._process

    def _start(self) -> ModelProcess:
        try:
            return ModelProcess(self._load, self._answer_within_s, logs_json=self._logs_json)
        except Ended as error:
            raise ModelDamaged(self._place, "its process ended while it was loaded") from error


def _end_all(processes: list[ModelProcess]) -> None:
    # Called by whoever lets go of a version last, which may be the event loop.
    for process in processes:
        process.kill()
