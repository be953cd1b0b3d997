"""A model's process, as the server sees it: its start, its end, and questions to it.

The processes are forked from one that has imported TensorFlow and done nothing with it, so that a model starts in the
time of its loading, and all share what TensorFlow itself needs of memory.
"""

import asyncio
import multiprocessing
import os
import socket
import threading
import weakref
from concurrent.futures import Executor
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any, Final

from millrace.errors import Unavailable
from serve.isolation.child import Load, Loaded, main
from serve.isolation.pipe import Packed, is_whole, limit_wait, read_now, receive, write
from serve.servables.servable import Arrays

CALLS: Final = min(16, len(os.sched_getaffinity(0)) + 1)
"""Calls that a process works on at the same time, one of them on its way: more would take turns, and all be late."""


class Ended(Unavailable):
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
        ends = [socket.socketpair() for _ in range(CALLS + 1)]
        self._process: ForkServerProcess = _context().Process(
            target=main,
            args=(load, [theirs for _, theirs in ends]),
            kwargs={"logs_json": logs_json},
            name="model",
            daemon=True,
        )
        self._connections = [ours for ours, _ in ends]
        weakref.finalize(self, _close_all, [end for pair in ends for end in pair])
        self.answer_within_s = answer_within_s
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
        # One is for callers that have no event loop.
        self._own, *self._idle = self._connections
        self._turn = threading.Lock()
        self._free = asyncio.Semaphore(CALLS)

    @property
    def pid(self) -> int | None:
        """The process's number."""
        return self._process.pid

    def ask(self, question: Packed) -> Arrays:
        """Let it answer while this thread waits; of many threads one after the other.

        Args:
            question: Name of a signature, inputs, and how many rows they have.

        Raises:
            Exception: Whatever the model raised.
            Ended: The process ended meanwhile.
            TimeoutError: It did not answer in time, and was ended.
        """
        with self._turn:
            answered = self.exchange(self._own, question)
        if isinstance(answered, Exception):
            raise answered
        return answered  # type: ignore[no-any-return] # what `main` sends

    async def ask_soon(self, question: Packed, executor: Executor) -> Arrays:
        """Let it answer while the event loop goes on, of which there is one; see `ask`.

        What is small is written and read by the event loop itself. To hand it to a thread and back takes longer than
        all else that the server does for a batch: both want the interpreter's lock.

        Args:
            question: As for `ask`.
            executor: Its threads wait where the event loop would. None waits for a connection: they would be missing
                to those that have one.
        """
        await self._free.acquire()
        call = _Call(self, self._idle.pop(), executor)
        call.start(question)
        try:
            answered: Arrays = await call.answer
            return answered
        finally:
            del call  # see `serve.garbage`: its future may hold an error, the error this frame

    def give_back(self, connection: socket.socket) -> None:
        """Let others have a connection of the event loop on which nothing is under way."""
        self._idle.append(connection)
        self._free.release()

    def exchange(self, connection: socket.socket, question: Packed | None, arrived: bytes = b"") -> Any:
        """Wait in a thread for what the process says to a question, or for the rest of what has begun to arrive."""
        try:
            if question:
                write(connection, question)
            return receive(connection, arrived)
        except TimeoutError:
            self.end()
            raise
        except (EOFError, OSError) as error:
            raise Ended() from error

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


def _close_all(connections: list[socket.socket]) -> None:
    for connection in connections:
        connection.close()


class _Call:
    """A question on its way through the event loop.

    It goes on when nobody waits for the answer any more: else the next question would get that answer.
    """

    def __init__(self, process: ModelProcess, connection: socket.socket, executor: Executor) -> None:
        self._process = process
        self._connection = connection
        self._executor = executor
        self._loop = asyncio.get_running_loop()
        self._late: asyncio.TimerHandle | None = None
        self.answer: asyncio.Future[Any] = self._loop.create_future()

    def start(self, question: Packed) -> None:
        if not question.is_small:
            self._hand_over(question)
            return
        try:
            write(self._connection, question)
        except OSError:
            self._end(Ended())
            return
        self._late = self._loop.call_later(self._process.answer_within_s, self._give_up)
        self._loop.add_reader(self._connection.fileno(), self._read)

    def _read(self) -> None:
        self._stop_waiting()
        try:
            arrived = read_now(self._connection)
            told = receive(self._connection, arrived) if is_whole(arrived) else None
        except (EOFError, OSError):
            told = Ended()
        except Exception as error:  # an answer that cannot be read is one
            told = error.with_traceback(None)
        if told is None:
            self._hand_over(None, arrived)
        else:
            self._end(told)

    def _hand_over(self, question: Packed | None, arrived: bytes = b"") -> None:
        """Let a thread write or read what is large."""
        try:
            exchange = self._process.exchange
            done = self._loop.run_in_executor(self._executor, exchange, self._connection, question, arrived)
        except RuntimeError:  # there are no threads any more
            self._end(Ended())
        else:
            done.add_done_callback(self._handed)

    def _handed(self, done: "asyncio.Future[Any]") -> None:
        self._end(Ended() if done.cancelled() else done.exception() or done.result())

    def _give_up(self) -> None:
        """It took too long. A process that cannot even end must not keep those who wait for the connection."""
        self._stop_waiting()
        self._process.kill()
        self._connection.close()
        self._end(TimeoutError())

    def _stop_waiting(self) -> None:
        self._loop.remove_reader(self._connection.fileno())
        if self._late:
            self._late.cancel()

    def _end(self, told: Any) -> None:
        self._process.give_back(self._connection)
        if self.answer.done():
            return
        if isinstance(told, BaseException):
            self.answer.set_exception(told)
        else:
            self.answer.set_result(told)


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    # Before TensorFlow is imported, and for every process: what it logs of itself is no news to a user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    context.set_forkserver_preload(["tensorflow", "serve.servables.saved_model", "serve.isolation.child"])
    return context
