"""Several processes that answer behind one port: starts them, starts anew what ends, and ends them together."""

import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from millrace.errors import StorageError
from millrace.logs import configure_logging

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

logger = logging.getLogger(__name__)

Work = Callable[[socket.socket, Callable[[], None]], None]
"""Answers on a listener until SIGTERM, and calls the function once it does."""

END_S: Final = 40.0
"""After SIGTERM; then what still runs is killed."""
PAUSES_S: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Before a worker is started anew, by how often it has ended early one time after the other."""
EARLY_S: Final = 60.0
"""Whoever ends sooner than this ends early."""
READY: Final = "ready"


@dataclass
class _Worker:
    """A running one."""

    number: int
    process: "SpawnProcess"
    said: "Connection[Any, Any]"
    started: float = field(default_factory=time.monotonic)


class Workers:
    """Keeps some processes at work.

    Args:
        count: How many.
        work: What each does; it is sent to the process, so it has to be picklable.
        listener: Where all of them take connections.
        logs_json: Whether they write their log as JSON.
    """

    def __init__(self, count: int, work: Work, listener: socket.socket, *, logs_json: bool = False) -> None:
        self._count = count
        self._work = work
        self._listener = listener
        self._logs_json = logs_json
        self._running: dict[int, _Worker] = {}
        self._early: dict[int, int] = {}
        self._is_ending = threading.Event()

    def run(self, on_ready: Callable[[], None]) -> None:
        """Start them, and return when a signal has ended all.

        Args:
            on_ready: Called once every one answers.

        Raises:
            Exception: What the first one raised that could not start.
        """
        with _signals(self._end):
            try:
                for number in range(self._count):
                    self._start(number)
                for worker in list(self._running.values()):
                    self._wait_ready(worker)
                if not self._is_ending.is_set():
                    on_ready()
                while self._running and not self._is_ending.is_set():
                    self._look()
            finally:
                self._end()
                self._join()

    @property
    def pids(self) -> list[int | None]:
        """The processes' numbers."""
        return [worker.process.pid for worker in self._running.values()]

    def _start(self, number: int) -> None:
        # A process of its own makes processes, which a daemonic one may not; it ends with this one by the pipe.
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=_main, args=(self._work, self._listener, theirs, self._logs_json), name=f"worker-{number}"
        )
        process.start()
        theirs.close()
        self._running[number] = _Worker(number, process, ours)

    def _wait_ready(self, worker: _Worker) -> None:
        while not worker.said.poll(0.2) and worker.process.is_alive():
            if self._is_ending.is_set():
                return
        said = _last_word(worker)
        if said is None and not self._is_ending.is_set():
            raise StorageError(f"worker {worker.number} ended before it answered", hint="its last words say why")
        if isinstance(said, Exception):
            raise said

    def _look(self) -> None:
        """Wait a moment for one to end, and start another in its place."""
        ended = multiprocessing.connection.wait([w.process.sentinel for w in self._running.values()], timeout=0.5)
        for worker in [w for w in self._running.values() if w.process.sentinel in ended]:
            worker.process.join()
            if self._is_ending.is_set():
                return
            lived = time.monotonic() - worker.started
            early = self._early.get(worker.number, 0) + 1 if lived < EARLY_S else 0
            self._early[worker.number] = early
            pause = PAUSES_S[min(early, len(PAUSES_S) - 1)]
            why = _last_word(worker)
            reason = str(why) if isinstance(why, Exception) else f"exit code {worker.process.exitcode}"
            logger.error("worker %d ended (%s), another starts in %g s", worker.number, reason, pause)
            if not self._is_ending.wait(pause):
                self._start(worker.number)

    def _end(self, *_: object) -> None:
        self._is_ending.set()
        for worker in list(self._running.values()):
            worker.process.terminate()

    def _join(self) -> None:
        deadline = time.monotonic() + END_S
        for worker in self._running.values():
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                logger.error("worker %d did not end in %g s and is killed", worker.number, END_S)
                worker.process.kill()
                worker.process.join()


def _last_word(worker: _Worker) -> object:
    """What it said last: that it is ready, or an error; None if nothing."""
    said = None
    with contextlib.suppress(EOFError, OSError):
        while worker.said.poll():
            said = worker.said.recv()
    return said


def _main(work: Work, listener: socket.socket, supervisor: "Connection[Any, Any]", logs_json: bool) -> None:
    """A worker."""
    configure_logging(as_json=logs_json)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from a keyboard it reaches the whole group; the supervisor tells
    threading.Thread(target=_end_with, args=(supervisor,), daemon=True).start()
    try:
        work(listener, lambda: supervisor.send(READY))
    except Exception as error:  # the supervisor tells it
        with contextlib.suppress(OSError):
            supervisor.send(error)


def _end_with(supervisor: "Connection[Any, Any]") -> None:
    with contextlib.suppress(EOFError, OSError):
        supervisor.recv()  # it never says anything: this ends when it does
    os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    kept = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, before in kept.items():
            signal.signal(number, before)
