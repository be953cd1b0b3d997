"""The process of a model, from the side of the server: start, end, and calls.

The processes are forked from one that has only imported TensorFlow. So a start takes no longer than loading the model,
and all processes share the memory of TensorFlow itself.
"""

import asyncio
import os
import socket
import threading
import weakref
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Final

from millrace.errors import Unavailable
from serve.isolation.child import Load, Loaded, main
from serve.isolation.forkserver import fork_context, signals_blocked
from serve.isolation.pipe import Packed, is_whole, limit_wait, read_now, receive, write
from serve.servables.servable import Arrays

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

CALLS: Final = min(16, len(os.sched_getaffinity(0)) + 1)
"""Calls to a process at the same time: one per core, and one in transit. More would only slow each other down."""


class Ended(Unavailable):
    """The process of a model ended during a call."""

    def __init__(self) -> None:
        super().__init__("the model's process ended")


class ModelProcess:
    """A running process and the connections to it.

    Args:
        load: Loads the model in the process; it has to be picklable.
        answer_within_s: Seconds after which a process without an answer is considered to hang.
        load_within_s: The same while it loads the model; None waits for ever.
        group: The processes that end together with this one.
        logs_json: Whether the process logs in JSON.

    Raises:
        Exception: The error of `load`.
        Ended: The process ended before the model was loaded.
        TimeoutError: The model was not loaded in time; the process was ended.
    """

    def __init__(
        self,
        load: Load,
        answer_within_s: float,
        *,
        load_within_s: float | None = None,
        group: "ProcessGroup | None" = None,
        logs_json: bool = False,
    ) -> None:
        ends = [socket.socketpair() for _ in range(CALLS + 1)]
        self._process: ForkServerProcess = fork_context().Process(
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
            (group or ProcessGroup()).start(self)
            for _, theirs in ends:
                theirs.close()
            if load_within_s is not None:
                limit_wait(self._connections[0], load_within_s)
            self.loaded: Loaded = self._receive_loaded()
        except BaseException:
            self.end()
            raise
        for connection in self._connections:
            limit_wait(connection, answer_within_s)
        # One connection is for callers without an event loop.
        self._own, *self._idle = self._connections
        self._turn = threading.Lock()
        self._free = asyncio.Semaphore(CALLS)

    @property
    def pid(self) -> int | None:
        """The process id."""
        return self._process.pid

    def call(self, request: Packed) -> Arrays:
        """Call the model and wait in this thread; calls of several threads take turns.

        Args:
            request: Name of a signature, the inputs, and their number of rows.

        Raises:
            Exception: The error of the model.
            Ended: The process ended during the call.
            TimeoutError: The process did not answer in time, and was ended.
        """
        with self._turn:
            answered = self.exchange(self._own, request)
        if isinstance(answered, Exception):
            raise answered
        return answered  # type: ignore[no-any-return] # what `main` sends

    async def call_async(self, request: Packed, executor: Executor) -> Arrays:
        """Call the model without blocking the event loop; see `call`.

        The event loop itself writes and reads small messages. Handing them to a thread and back would take longer than
        everything else that the server does for a batch, because both need the interpreter's lock.

        Args:
            request: As for `call`.
            executor: Its threads write and read large messages. None of them waits for a connection: the calls that
                have a connection may need them.
        """
        await self._free.acquire()
        call = _Call(self, self._idle.pop(), executor)
        call.start(request)
        try:
            answered: Arrays = await call.answer
            return answered
        finally:
            del call  # see `serve.garbage`: its future may hold an error, the error this frame

    def give_back(self, connection: socket.socket) -> None:
        """Make a connection available for the next call."""
        self._idle.append(connection)
        self._free.release()

    def exchange(self, connection: socket.socket, request: Packed | None, arrived: bytes = b"") -> Any:
        """Send a request and wait for its answer, in a thread; without a request, for the rest of an answer."""
        try:
            if request:
                write(connection, request)
            return receive(connection, arrived)
        except TimeoutError:
            self.end()
            raise
        except (EOFError, OSError) as error:
            raise Ended() from error

    def end(self) -> None:
        """Kill the process and wait for its end; may be called again.

        The connections are closed with this object, because other threads may still use them.
        """
        self.kill()
        if self._process.pid is not None:
            self._process.join(10)

    def start(self) -> None:
        """Start the process; for `ProcessGroup`."""
        self._process.start()

    def kill(self) -> None:
        """Kill the process without waiting: freeing the memory of a model takes tens of milliseconds."""
        if self._process.pid is not None:
            self._process.kill()

    def _receive_loaded(self) -> Loaded:
        try:
            received = receive(self._connections[0])
        except TimeoutError:
            raise
        except (EOFError, OSError) as error:
            raise Ended() from error
        if isinstance(received, Exception):
            raise received
        return received  # type: ignore[no-any-return] # what `main` sends


class ProcessGroup:
    """The processes of a server, which end together: also those that are still loading a model."""

    def __init__(self) -> None:
        self._members: weakref.WeakSet[ModelProcess] = weakref.WeakSet()
        self._is_ended = False
        self._lock = threading.Lock()

    def start(self, process: ModelProcess) -> None:
        """Start a process.

        Raises:
            Ended: The group has ended.
        """
        with self._lock:
            if self._is_ended:
                raise Ended()
            with signals_blocked():
                process.start()
            self._members.add(process)

    def end(self) -> None:
        """Kill every process; none is started after that."""
        with self._lock:
            self._is_ended = True
            members = list(self._members)
        for process in members:
            process.kill()


def _close_all(connections: list[socket.socket]) -> None:
    for connection in connections:
        connection.close()


class _Call:
    """A call through the event loop.

    It continues if no caller waits any more. Otherwise the next call on the connection would read its answer.
    """

    def __init__(self, process: ModelProcess, connection: socket.socket, executor: Executor) -> None:
        self._process = process
        self._connection = connection
        self._executor = executor
        self._loop = asyncio.get_running_loop()
        self._late: asyncio.TimerHandle | None = None
        self.answer: asyncio.Future[Any] = self._loop.create_future()

    def start(self, request: Packed) -> None:
        if not request.is_small:
            self._hand_over(request)
            return
        try:
            write(self._connection, request)
        except OSError:
            self._end(Ended())
            return
        self._late = self._loop.call_later(self._process.answer_within_s, self._give_up)
        self._loop.add_reader(self._connection.fileno(), self._read)

    def _read(self) -> None:
        self._stop_waiting()
        try:
            arrived = read_now(self._connection)
            answered = receive(self._connection, arrived) if is_whole(arrived) else None
        except (EOFError, OSError):
            answered = Ended()
        except Exception as error:  # an answer that cannot be unpickled
            answered = error.with_traceback(None)
        if answered is None:
            self._hand_over(None, arrived)
        else:
            self._end(answered)

    def _hand_over(self, request: Packed | None, arrived: bytes = b"") -> None:
        """Write or read a large message in a thread."""
        try:
            exchange = self._process.exchange
            done = self._loop.run_in_executor(self._executor, exchange, self._connection, request, arrived)
        except RuntimeError:  # the threads are stopped
            self._end(Ended())
        else:
            done.add_done_callback(self._handed)

    def _handed(self, done: "asyncio.Future[Any]") -> None:
        self._end(Ended() if done.cancelled() else done.exception() or done.result())

    def _give_up(self) -> None:
        """End a call that took too long. A process that does not even end must not block its connection."""
        self._stop_waiting()
        self._process.kill()
        self._connection.close()
        self._end(TimeoutError())

    def _stop_waiting(self) -> None:
        self._loop.remove_reader(self._connection.fileno())
        if self._late:
            self._late.cancel()

    def _end(self, answered: Any) -> None:
        self._process.give_back(self._connection)
        if self.answer.done():
            return
        if isinstance(answered, BaseException):
            self.answer.set_exception(answered)
        else:
            self.answer.set_result(answered)
