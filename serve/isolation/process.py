"""A model's process, as the server sees it: its start, its end, and questions to it.

The processes are forked from one that has imported TensorFlow and done nothing with it, so that a model starts in the
time of its loading, and all share what TensorFlow itself needs of memory.
"""

import asyncio
import multiprocessing
import os
import queue
import socket
import weakref
from concurrent.futures import Executor
from functools import partial
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any, Final

from pipelines.errors import StorageError
from serve.isolation.child import Load, Loaded, main
from serve.isolation.pipe import Packed, is_whole, limit_wait, read_now, receive, write
from serve.servables.servable import Arrays

CALLS: Final = min(16, len(os.sched_getaffinity(0)) + 1)
"""Calls that a process works on at the same time, one of them on its way: more would take turns, and all be late."""


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
        ends = [socket.socketpair() for _ in range(CALLS)]
        self._process: ForkServerProcess = _context().Process(
            target=main,
            args=(load, [theirs for _, theirs in ends]),
            kwargs={"logs_json": logs_json},
            name="model",
            daemon=True,
        )
        self._connections = [ours for ours, _ in ends]
        weakref.finalize(self, _close_all, [end for pair in ends for end in pair])
        self._answer_within_s = answer_within_s
        self._idle: queue.LifoQueue[socket.socket] = queue.LifoQueue()
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

    def ask(self, question: Packed) -> Arrays:
        """Let it answer.

        Args:
            question: Name of a signature, inputs, and how many rows they have.

        Raises:
            Exception: Whatever the model raised.
            Ended: The process ended meanwhile.
            TimeoutError: It did not answer in time, and was ended.
        """
        connection = self._idle.get()
        try:
            write(connection, question)
        except OSError as error:
            lost = self._lost(error)
            self._idle.put(connection)
            raise lost from error
        return _told(self._receive(connection))

    def _receive(self, connection: socket.socket, arrived: bytes = b"") -> Any:
        """Wait for an answer, of which some may have arrived, and let others use the connection."""
        try:
            return receive(connection, arrived)
        except (EOFError, OSError) as error:
            raise self._lost(error) from error
        finally:
            self._idle.put(connection)

    def _lost(self, error: Exception) -> Exception:
        """Why a connection has no answer; whoever does not answer in time is ended first."""
        if isinstance(error, TimeoutError):
            self.end()
            return error
        return Ended()

    async def ask_soon(self, question: Packed, executor: Executor) -> Arrays:
        """Let it answer while the event loop goes on; see `ask`. May be cancelled, which the process does not notice.

        What is small is written and read by the event loop itself. To hand it to a thread and back takes longer than
        all else that the server does for a batch: both want the interpreter's lock.

        Args:
            question: As for `ask`.
            executor: Its threads wait where the event loop would.
        """
        loop = asyncio.get_running_loop()
        try:
            connection = self._idle.get_nowait() if question.is_small else None
        except queue.Empty:
            connection = None
        if connection is None:
            return await loop.run_in_executor(executor, self.ask, question)
        try:
            write(connection, question)
        except OSError as error:
            self._idle.put(connection)
            raise Ended() from error
        answer: asyncio.Future[Any] = loop.create_future()
        late = loop.call_later(self._answer_within_s, self._process.kill)
        loop.add_reader(connection.fileno(), self._read, connection, answer, late, executor)
        return _told(await answer)

    def _read(
        self, connection: socket.socket, answer: "asyncio.Future[Any]", late: asyncio.TimerHandle, executor: Executor
    ) -> None:
        """Take an answer that has begun to arrive, whether or not somebody still waits for it."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(connection.fileno())
        late.cancel()
        try:
            arrived = read_now(connection)
        except (EOFError, OSError):
            self._idle.put(connection)
            if not answer.done():
                answer.set_exception(TimeoutError() if loop.time() >= late.when() else Ended())
            return
        if is_whole(arrived):
            self._idle.put(connection)
            if not answer.done():
                answer.set_result(receive(connection, arrived))
            return
        rest = loop.run_in_executor(executor, self._receive, connection, arrived)
        rest.add_done_callback(partial(_pass_on, answer))

    def end(self) -> None:
        """End it, whatever it does, and wait until it is gone; may be called again.

        The connections are closed with this object: until then other threads may be about to use them.
        """
        self.kill()
        if self._process.pid is not None:
            self._process.join(10)

    def kill(self) -> None:
        """End it and wait for nothing: to give back the memory of a model takes tens of milliseconds."""
        if self._process.pid is not None:
            self._process.kill()

    def _first_word(self) -> Loaded:
        try:
            said = receive(self._connections[0])
        except (EOFError, OSError) as error:
            raise Ended() from error
        if isinstance(said, Exception):
            raise said
        return said  # type: ignore[no-any-return] # what `main` sends


def _told(answered: Any) -> Arrays:
    """What `main` sends."""
    if isinstance(answered, Exception):
        raise answered
    return answered  # type: ignore[no-any-return]


def _close_all(connections: list[socket.socket]) -> None:
    for connection in connections:
        connection.close()


def _pass_on(answer: "asyncio.Future[Any]", done: "asyncio.Future[Any]") -> None:
    error = done.exception()
    if answer.done():
        return
    if error:
        answer.set_exception(error)
    else:
        answer.set_result(done.result())


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    # Before TensorFlow is imported, and for every process: what it logs of itself is no news to a user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    context.set_forkserver_preload(["tensorflow", "serve.servables.saved_model", "serve.isolation.child"])
    return context
