"""The server's side of a model's process: starts it, asks it, and starts it anew when it crashed or hangs.

The processes are forked from one that has imported TensorFlow and done nothing with it, so that a model starts in the
time of its loading, and all share what TensorFlow itself needs of memory.
"""

import logging
import multiprocessing
import os
import queue
import threading
import time
import weakref
from collections.abc import Mapping
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import TYPE_CHECKING, Any, Final

from pipelines.errors import StorageError
from pipelines.features import Encoded
from pipelines.models import ModelDamaged
from serve.errors import InferenceFailed, InferenceLate, ModelNotReady
from serve.isolation.child import Load, Loaded, main
from serve.isolation.pipe import limit_wait, receive, send
from serve.servables.servable import Arrays, Servable
from serve.servables.signatures import Signature

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

logger = logging.getLogger(__name__)

CALLS: Final = min(16, len(os.sched_getaffinity(0)) + 1)
"""Calls that a process works on at the same time, one of them on its way: more would take turns, and all be late."""
RETRY_AFTER_S: Final = 60.0
"""A process that could not be started again is not tried again before this."""


class Ended(StorageError):
    """A model's process ended while it was asked."""

    def __init__(self) -> None:
        super().__init__("the model's process ended")


class ModelProcess:
    """A running process and the connections to it.

    Args:
        load: Loads the model there; it is sent to the process, so it has to be picklable.
        answer_within_s: How long an answer may take before the process is taken for hanging.
        logs_json: Whether the process writes its log as JSON.

    Raises:
        Exception: Whatever `load` raised there.
        Ended: It ended before it had loaded.
    """

    def __init__(self, load: Load, answer_within_s: float, *, logs_json: bool = False) -> None:
        ends = [multiprocessing.Pipe() for _ in range(CALLS)]
        self._process: ForkServerProcess = _context().Process(
            target=main,
            args=(load, [theirs for _, theirs in ends]),
            kwargs={"logs_json": logs_json},
            name="model",
            daemon=True,
        )
        self._connections = [ours for ours, _ in ends]
        self._idle: queue.LifoQueue[Connection[Any, Any]] = queue.LifoQueue()
        try:
            self._process.start()
            for _, theirs in ends:
                theirs.close()
            self.loaded: Loaded = self._first_word()
        except BaseException:
            self.end()
            raise
        for connection in self._connections:
            limit_wait(connection, answer_within_s)
            self._idle.put(connection)

    @property
    def pid(self) -> int | None:
        """The process's number."""
        return self._process.pid

    def ask(self, signature: str, inputs: Mapping[str, Encoded], rows: int | None) -> Arrays:
        """Let it answer.

        Raises:
            Exception: Whatever the model raised.
            Ended: The process ended meanwhile.
            TimeoutError: It did not answer in time, and was ended.
        """
        connection = self._idle.get()
        try:
            send(connection, (signature, inputs, rows))
            answered = receive(connection)
        except BlockingIOError as error:
            self.end()
            raise TimeoutError from error
        except (EOFError, OSError) as error:
            raise Ended() from error
        finally:
            self._idle.put(connection)
        if isinstance(answered, Exception):
            raise answered
        return answered  # type: ignore[no-any-return] # what `main` sends

    def end(self) -> None:
        """End it, whatever it does; may be called again.

        The connections are closed with this object: until then other threads may be about to use them.
        """
        if self._process.pid is not None:
            self._process.kill()
            self._process.join(10)

    def _first_word(self) -> Loaded:
        try:
            said = receive(self._connections[0])
        except (EOFError, OSError) as error:
            raise Ended() from error
        if isinstance(said, Exception):
            raise said
        return said  # type: ignore[no-any-return] # what `main` sends


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
        process = self._process
        for _ in range(2):
            try:
                return process.ask(asked.name, columns, rows)
            except TimeoutError as error:
                logger.error("a call of model %s took over %g s: its process ends", self.name, self._answer_within_s)
                self._revive(process)
                raise InferenceLate(self.name, self._answer_within_s) from error
            except Ended:
                process = self._revive(process)
        raise InferenceFailed(self.name, self.version, "its process ended while it answered")

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
    for process in processes:
        process.end()


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    # Before TensorFlow is imported, and for every process: what it logs of itself is no news to a user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    context.set_forkserver_preload(["tensorflow", "serve.servables.saved_model", "serve.isolation.child"])
    return context
