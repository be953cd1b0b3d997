"""Several worker processes on one port: starts them, restarts those that end, and stops them together."""

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

from millrace.errors import Unavailable
from millrace.logs import configure_logging

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

logger = logging.getLogger(__name__)

Work = Callable[[socket.socket, Callable[[], None]], None]
"""Serves on a listener until SIGTERM, and calls the function when it answers requests."""

END_S: Final = 40.0
"""Time to stop after SIGTERM; then a worker is killed."""
PAUSES_S: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before a worker is restarted, by the number of early ends in a row."""
EARLY_S: Final = 60.0
"""A worker that runs for less than this has ended early."""
READY: Final = "ready"
POLL_S: Final = 0.5


@dataclass
class _Worker:
    """A running worker."""

    number: int
    process: "SpawnProcess"
    messages: "Connection[Any, Any]"
    started: float = field(default_factory=time.monotonic)


class Workers:
    """Runs a number of worker processes.

    Args:
        count: The number of processes.
        work: The function that each runs; it is sent to the process, so it has to be picklable.
        listener: The socket on which all of them accept connections.
        logs_json: Whether they log in JSON.
    """

    def __init__(self, count: int, work: Work, listener: socket.socket, *, logs_json: bool = False) -> None:
        self._count = count
        self._work = work
        self._listener = listener
        self._logs_json = logs_json
        self._running: dict[int, _Worker] = {}
        self._early: dict[int, int] = {}
        self._due: dict[int, float] = {}
        """When the workers that have ended are started again."""
        self._is_ending = threading.Event()

    def run(self, on_ready: Callable[[], None]) -> None:
        """Start the workers, and return when a signal has stopped all of them.

        Args:
            on_ready: Called when every worker answers requests.

        Raises:
            Exception: The error of the first worker that could not start.
        """
        with _signals(self._end):
            try:
                for number in range(self._count):
                    self._start(number)
                for worker in list(self._running.values()):
                    self._wait_ready(worker)
                if not self._is_ending.is_set():
                    on_ready()
                while not self._is_ending.is_set():
                    self._note_ended()
                    self._restart_due()
            finally:
                self._end()
                self._join()

    @property
    def pids(self) -> list[int | None]:
        """The process ids of those that run."""
        return [worker.process.pid for worker in self._running.values()]

    def _start(self, number: int) -> None:
        # Not a daemon process: a worker starts processes itself. The pipe tells it when this process ends.
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=_main, args=(self._work, self._listener, theirs, self._logs_json), name=f"worker-{number}"
        )
        process.start()
        theirs.close()
        self._running[number] = _Worker(number, process, ours)

    def _wait_ready(self, worker: _Worker) -> None:
        while not worker.messages.poll(0.2) and worker.process.is_alive():
            if self._is_ending.is_set():
                return
        message = _last_message(worker)
        if message is None and not self._is_ending.is_set():
            raise Unavailable(f"worker {worker.number} ended before it answered requests", hint="its log says why")
        if isinstance(message, Exception):
            raise message

    def _note_ended(self) -> None:
        """Wait a moment for a worker to end, and set the time of its restart. Others are not kept waiting by it."""
        if not self._running:
            self._is_ending.wait(POLL_S)
            return
        ended = multiprocessing.connection.wait([w.process.sentinel for w in self._running.values()], timeout=POLL_S)
        for worker in [w for w in self._running.values() if w.process.sentinel in ended]:
            worker.process.join()
            if self._is_ending.is_set():
                return
            del self._running[worker.number]
            lived = time.monotonic() - worker.started
            early = self._early.get(worker.number, 0) + 1 if lived < EARLY_S else 0
            self._early[worker.number] = early
            pause = PAUSES_S[min(early, len(PAUSES_S) - 1)]
            last = _last_message(worker)
            reason = str(last) if isinstance(last, Exception) else f"exit code {worker.process.exitcode}"
            logger.error("worker %d ended (%s), it restarts in %g s", worker.number, reason, pause)
            self._due[worker.number] = time.monotonic() + pause

    def _restart_due(self) -> None:
        now = time.monotonic()
        for number in [number for number, due in self._due.items() if due <= now]:
            if self._is_ending.is_set():
                return
            del self._due[number]
            self._start(number)

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


def _last_message(worker: _Worker) -> object:
    """The last message of a worker: READY, or an error; None if there is none."""
    message = None
    with contextlib.suppress(EOFError, OSError):
        while worker.messages.poll():
            message = worker.messages.recv()
    return message


def _main(work: Work, listener: socket.socket, supervisor: "Connection[Any, Any]", logs_json: bool) -> None:
    """Run a worker; the entry of its process."""
    configure_logging(as_json=logs_json)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor sends SIGTERM
    threading.Thread(target=_end_with, args=(supervisor,), daemon=True).start()
    try:
        work(listener, lambda: supervisor.send(READY))
    except Exception as error:  # the supervisor reports it
        with contextlib.suppress(OSError):
            supervisor.send(error)


def _end_with(supervisor: "Connection[Any, Any]") -> None:
    with contextlib.suppress(EOFError, OSError):
        supervisor.recv()  # it never sends anything: this returns when the supervisor ends
    os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    kept = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, before in kept.items():
            signal.signal(number, before)
