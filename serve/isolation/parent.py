"""A model version in a process of its own, which is restarted if it crashes or hangs."""

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
from serve.isolation.process import Ended, ModelProcess, ProcessGroup
from serve.servables.servable import Arrays, Servable
from serve.servables.signatures import Signature

logger = logging.getLogger(__name__)

RETRY_AFTER_S: Final = 60.0
"""Seconds before the start of a process is tried again after it failed."""


class IsolatedServable(Servable):
    """A model version in a process of its own, which ends with this object.

    Args:
        label: The name and version, for messages.
        load: Loads it; see `ModelProcess`.
        answer_within_s: Longest time of one TensorFlow call. If it is exceeded, the process is ended.
        load_within_s: Longest time of loading; the same.
        group: The processes that end together.
        logs_json: Whether the process logs in JSON.

    Raises:
        Exception: The error of `load`.
        ModelDamaged: The process ended while it loaded the model, or did not load it in time.
    """

    def __init__(
        self,
        label: str,
        load: Load,
        answer_within_s: float,
        *,
        load_within_s: float | None = None,
        group: ProcessGroup | None = None,
        logs_json: bool = False,
    ) -> None:
        self._group = group
        self._logs_json = logs_json
        self._label = label
        self._load = load
        self._answer_within_s = answer_within_s
        self._load_within_s = load_within_s
        self._process = self._start()
        self._lock = threading.Lock()
        self._failure: tuple[float, Exception] | None = None
        self._restarting: asyncio.Future[ModelProcess] | None = None
        """A restart that callers in the event loop wait for."""
        loaded = self._process.loaded
        super().__init__(loaded.origin, loaded.signatures, joins=loaded.joins)
        self._holder = [self._process]
        self._end = weakref.finalize(self, _end_all, self._holder)

    def close(self) -> None:
        """End the process."""
        self._end()

    @property
    def pid(self) -> int | None:
        """The id of the current process."""
        return self._process.pid

    def answer(self, signature: Signature, columns: Mapping[str, Encoded], rows: int | None) -> Arrays:
        """All outputs for inputs that passed `check`.

        If the process ends, it is restarted and the call is repeated once: most likely another request caused it.

        Raises:
            InvalidRequest: The graph of a model of another system refused them.
            InferenceFailed: TensorFlow raised an error, or the process ended twice.
            InferenceLate: The call took too long. The process was ended: such a call cannot be cancelled.
            ModelNotReady: The process ended, and cannot be started again.
        """
        process, request = self._process, pack((signature.name, columns, rows))
        for _ in range(2):
            try:
                return process.call(request)
            except TimeoutError as error:
                self._restart(process)
                raise self._too_late() from error
            except Ended:
                process = self._restart(process)
        raise self._ended_twice()

    async def answer_soon(
        self, executor: Executor, signature: Signature, columns: Mapping[str, Encoded], rows: int | None, size: int = 0
    ) -> Arrays:
        """All outputs, without blocking the event loop; see `answer`."""
        process = self._process
        request = await work(executor, size, pack, (signature.name, columns, rows))
        for _ in range(2):
            try:
                return await process.call_async(request, executor)
            except TimeoutError as error:
                await self._restart_soon(process, executor)
                raise self._too_late() from error
            except Ended:
                process = await self._restart_soon(process, executor)
        raise self._ended_twice()

    def _too_late(self) -> InferenceLate:
        logger.error("a call of model %s took over %g s: its process ended", self.name, self._answer_within_s)
        return InferenceLate(self.name, self._answer_within_s)

    def _ended_twice(self) -> InferenceFailed:
        return InferenceFailed(self.name, self.version, "its process ended while it answered")

    async def _restart_soon(self, dead: ModelProcess, executor: Executor) -> ModelProcess:
        """See `_restart`. However many callers wait, it takes one thread of the executor."""
        restarting = self._restarting
        if restarting is None:
            loop = asyncio.get_running_loop()
            restarting = self._restarting = loop.run_in_executor(executor, self._restart, dead)
            restarting.add_done_callback(self._forget_restart)
        return await asyncio.shield(restarting)

    def _forget_restart(self, restarting: "asyncio.Future[ModelProcess]") -> None:
        self._restarting = None
        if not restarting.cancelled():
            restarting.exception()  # mark it as seen: its callers may be gone

    def _restart(self, dead: ModelProcess) -> ModelProcess:
        """Restart the process, and return the new one. Of several callers only one restarts it."""
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
                logger.error(
                    "the process of model %s version %d ended and cannot be restarted", self.name, self.version
                )
                raise ModelNotReady(self.name, self.version, str(error)) from error
            self._holder[:] = [self._process]
            self._failure = None
            self.restarts += 1
            seconds = time.monotonic() - started
            logger.warning("model %s version %d ended, restarted in %.1f s", self.name, self.version, seconds)
            return self._process

    def _start(self) -> ModelProcess:
        try:
            return ModelProcess(
                self._load,
                self._answer_within_s,
                load_within_s=self._load_within_s,
                group=self._group,
                logs_json=self._logs_json,
            )
        except TimeoutError as error:
            reason = f"it was not loaded within {self._load_within_s:g} s"
            raise ModelDamaged(self._label, reason, hint="raise serve.load_deadline_s if it needs longer") from error
        except Ended as error:
            raise ModelDamaged(self._label, "its process ended while it was loaded") from error


def _end_all(processes: list[ModelProcess]) -> None:
    # The event loop may call this, when it drops the last reference to a version: do not wait.
    for process in processes:
        process.kill()
