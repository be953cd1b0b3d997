"""Joins requests into batches, without a waiting window.

Requests that arrive while a batch runs form the next batch. A request that finds the model idle runs at once; under
load, a batch is larger the longer the last one took. JSON values are decoded for the whole batch together, which is ten
times cheaper than one request at a time.

A bad request does not affect the others of its batch. Every request is checked against the signature before TensorFlow
sees it; one that does not fit gets its own error. Only requests of equal inner shapes share a call. If TensorFlow
fails, each request of the batch runs again by itself.
"""

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from serve.errors import InferenceLate, Overloaded
from serve.garbage import forget_stack, weak_callback
from serve.inference.deadlines import Deadline
from serve.inference.inputs import Decoded, InferenceInput
from serve.inference.joint_calls import JointCalls, Pending, Result
from serve.servables.domains import DomainGuard
from serve.servables.servable import Array, Arrays, Servable, has_rows
from serve.servables.signatures import Signature

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """The limits of one queue.

    Attributes:
        max_rows: Rows of one batch. A larger request runs alone.
        max_queued: Rows that may wait. A request that would exceed this is refused, unless the queue is empty. A
            waiting request counts as half of it at most, so that a huge one does not make all others fail.
        deadline_s: How long a request may wait for its answer.
    """

    max_rows: int
    max_queued: int
    deadline_s: float = 30.0


class Batcher:
    """The queue of one signature of a loaded version. It belongs to one event loop.

    Args:
        servable: The model version.
        signature: The function of the model.
        executor: Threads for long work.
        limits: The limits of the queue.
        guard: Checks the values against the model's domains.
    """

    def __init__(
        self,
        servable: Servable,
        signature: Signature,
        executor: Executor,
        limits: Limits,
        guard: DomainGuard | None = None,
    ) -> None:
        self.signature = signature
        self._servable = servable
        self._calls = JointCalls(servable, signature, executor, guard)
        self._limits = limits
        self._waiting: dict[int, Pending] = {}
        """Requests without an answer, the oldest first."""
        self._timer: asyncio.TimerHandle | None = None
        self._queue: deque[Pending] = deque()
        self._queued = 0
        self._running: asyncio.Task[None] | None = None
        """The running batch."""
        self._shares = True
        """Whether requests may share a call; False once a model of another system did not answer row by row."""

    @property
    def model(self) -> str:
        """The name of the model."""
        return self._servable.name

    @property
    def queued(self) -> int:
        """Rows in the queue."""
        return self._queued

    async def infer(
        self,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        deadline: Deadline | None = None,
        size: int = 0,
    ) -> Arrays:
        """Run the model on tensors.

        See `Servable.infer` for the arguments and errors, and `infer_joined` for deadline and size.

        Raises:
            Overloaded: Too many rows wait already; nothing was computed.
            InferenceLate: The answer took too long. A computation that has started continues.
        """
        rows = self._servable.check(self.signature, inputs, outputs)
        loop = asyncio.get_running_loop()
        if rows is None or not self._shares:  # its inputs do not count rows: it cannot share a call
            return await self._calls.run_alone(inputs, outputs, size)
        shapes = self._shapes(inputs)
        pending = Pending(Decoded(inputs), outputs, rows, loop.create_future(), shapes, size, dict(inputs))
        return await self._enqueue(pending, loop, deadline)

    async def infer_joined(
        self,
        request: InferenceInput,
        size: int,
        outputs: Sequence[str] | None = None,
        deadline: Deadline | None = None,
    ) -> Arrays:
        """Run the model on values that are decoded together with those of other requests; for tabular signatures.

        Args:
            request: The values.
            size: Bytes of the request body.
            outputs: Names of the wanted outputs; the signature has them.
            deadline: When the client stops waiting, if it says so.

        Raises:
            InvalidRequest: The values do not fit.
            Overloaded: Too many rows wait already; nothing was computed.
            InferenceLate: The answer took too long. A computation that has started continues.
        """
        if not self._shares:
            return await self.infer(request.inputs(), outputs, deadline, size)
        loop = asyncio.get_running_loop()
        flat = ((),) * len(self.signature.inputs)
        pending = Pending(request, outputs, request.rows, loop.create_future(), flat, size)
        return await self._enqueue(pending, loop, deadline)

    async def _enqueue(
        self, pending: Pending, loop: asyncio.AbstractEventLoop, deadline: Deadline | None = None
    ) -> Arrays:
        if deadline and deadline.at <= loop.time():
            raise InferenceLate(self._servable.name, deadline.seconds)
        if self._queued and self._queued + pending.rows > self._limits.max_queued:
            raise Overloaded(f"{self._queued} rows wait for model '{self._servable.name}'")
        self._queue.append(pending)
        self._queued += self._room_of(pending)
        if self._running is None:
            self._start(loop)
        # One timer for all waiting requests: one per request would take as long as parsing a small request.
        pending.due = loop.time() + self._limits.deadline_s
        self._waiting[id(pending)] = pending
        if self._timer is None:
            self._timer = self._set_timer(loop, pending.due)
        timer = loop.call_at(deadline.at, self._end, pending, deadline.seconds) if deadline else None
        try:
            return await pending.answer
        finally:
            del self._waiting[id(pending)]
            if timer:
                timer.cancel()

    def _set_timer(self, loop: asyncio.AbstractEventLoop, due: float) -> asyncio.TimerHandle:
        # The timer of its last request must not keep a version, and its process, that was dropped.
        return loop.call_at(due, weak_callback(self._end_late), loop)

    def _end_late(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self._timer = None
        for pending in self._waiting.values():
            if pending.due > now:
                self._timer = self._set_timer(loop, pending.due)
                break
            self._end(pending, self._limits.deadline_s)

    def _end(self, pending: Pending, seconds: float) -> None:
        if not pending.answer.done():
            pending.answer.set_exception(InferenceLate(self._servable.name, seconds))

    def _shapes(self, inputs: Mapping[str, Array]) -> tuple[tuple[int, ...], ...]:
        return tuple(inputs[name].shape[1:] for name in self.signature.inputs)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = self._take()
        # In a context of its own: the log lines of a batch must not have the id of the request that starts it.
        self._running = loop.create_task(self._run(loop, batch), context=contextvars.Context()) if batch else None

    def _take(self) -> list[Pending]:
        """The next batch: the oldest request with a client that still waits, and later ones that fit into its call."""
        batch: list[Pending] = []
        others: list[Pending] = []
        rows = 0
        while self._queue:
            pending = self._queue[0]
            if batch and pending.shapes == batch[0].shapes and rows + pending.rows > self._limits.max_rows:
                break
            if batch and not self._shares:
                break
            self._queue.popleft()
            if batch and pending.shapes != batch[0].shapes:
                others.append(pending)
                continue
            self._queued -= self._room_of(pending)
            if not pending.answer.done():  # else its client does not wait any more
                batch.append(pending)
                rows += pending.rows
        self._queue.extendleft(reversed(others))
        return batch

    def _room_of(self, pending: Pending) -> int:
        return min(pending.rows, max(1, self._limits.max_queued // 2))

    async def _run(self, loop: asyncio.AbstractEventLoop, batch: list[Pending]) -> None:
        results: Sequence[Result]
        try:
            results = await self._calls.run(batch)
        except Exception as error:  # a bug: every request of the batch gets it
            results = [error] * len(batch)
        if self._servable.spec is None:
            pairs = zip(batch, results, strict=True)
            self._shares &= all(isinstance(r, Exception) or has_rows(r, pending.rows) for pending, r in pairs)
        self._start(loop)  # first: the next batch must not wait for the responses of this one
        for pending, result in zip(batch, results, strict=True):
            if pending.answer.done():
                if isinstance(result, BaseException):
                    forget_stack(result)  # it is not reported
            elif isinstance(result, BaseException):
                pending.answer.set_exception(result)
            else:
                pending.answer.set_result(result)
