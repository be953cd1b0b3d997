"""Joins requests into batches without a waiting window: what arrives while a batch runs forms the next one.

A lone request never waits for company, and under load a batch is as large as the last one was slow. Values that are
still JSON are decoded for the whole batch at once, which is ten times cheaper than one request after the other.
Nothing reaches TensorFlow that was not checked against the signature: a request whose values do not fit is taken out
and told so, only those of equal inner shapes share a call, and if TensorFlow refuses a call its members are asked again
one by one. None can harm its neighbours.
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
from serve.servables.servable import Array, Arrays, Servable
from serve.servables.signatures import Signature
from serve.servables.statistics import Statistics

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """Of one queue.

    Attributes:
        max_rows: Of one batch; a larger request runs alone.
        max_queued: Rows that may wait; a request that would make it more is refused at once, unless nobody waits. One
            request counts as half of them at most: a huge one that waits shall not have everybody else refused.
        deadline_s: How long a request may wait for its answer.
    """

    max_rows: int
    max_queued: int
    deadline_s: float = 30.0


class Batcher:
    """The queue of one signature of a loaded version. Lives on one event loop.

    Args:
        servable: What answers.
        signature: Which of its functions.
        executor: Has threads for what takes long.
        statistics: Where phases are counted.
        limits: What it takes.
        guard: Looks at the values.
    """

    def __init__(
        self,
        servable: Servable,
        signature: Signature,
        executor: Executor,
        statistics: Statistics,
        limits: Limits,
        guard: DomainGuard | None = None,
    ) -> None:
        self.signature = signature
        self._servable = servable
        self._calls = JointCalls(servable, signature, executor, statistics, guard)
        self._limits = limits
        self._waiting: dict[int, Pending] = {}
        """Those that are not answered yet, the oldest first."""
        self._alarm: asyncio.TimerHandle | None = None
        self._queue: deque[Pending] = deque()
        self._queued = 0
        self._running: asyncio.Task[None] | None = None
        """The batch that is being answered."""

    @property
    def model(self) -> str:
        """The name of the model."""
        return self._servable.name

    @property
    def queued(self) -> int:
        """Rows that wait."""
        return self._queued

    async def infer(
        self,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        deadline: Deadline | None = None,
        size: int = 0,
    ) -> Arrays:
        """Answer for tensors; see `Servable.infer` for the arguments and errors, and `ask` for deadline and size.

        Raises:
            Overloaded: Too many rows wait already; nothing was computed.
            InferenceLate: The answer took too long; whatever still computes it goes on.
        """
        rows = self._servable.check(self.signature, inputs, outputs)
        loop = asyncio.get_running_loop()
        if rows is None:  # nothing counts rows in it: it cannot be joined with others
            return await self._calls.run_alone(inputs, outputs, size)
        shapes = self._shapes(inputs)
        pending = Pending(Decoded(inputs), outputs, rows, loop.create_future(), shapes, size, dict(inputs))
        return await self._enqueue(pending, loop, deadline)

    async def ask(
        self,
        question: InferenceInput,
        size: int,
        outputs: Sequence[str] | None = None,
        deadline: Deadline | None = None,
    ) -> Arrays:
        """Answer for values that are decoded together with those of others; only for a tabular signature.

        Args:
            question: What is asked.
            size: Bytes that it came in.
            outputs: Names wanted, which the signature has.
            deadline: When the client stops waiting, if that is sooner than the queue's own.

        Raises:
            InvalidRequest: The values do not fit.
            Overloaded: Too many rows wait already; nothing was computed.
            InferenceLate: The answer took too long; whatever still computes it goes on.
        """
        loop = asyncio.get_running_loop()
        flat = ((),) * len(self.signature.inputs)
        pending = Pending(question, outputs, question.rows, loop.create_future(), flat, size)
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
        # One timer for all that wait: one for each would take as long as to parse a small request.
        pending.due = loop.time() + self._limits.deadline_s
        self._waiting[id(pending)] = pending
        if self._alarm is None:
            self._alarm = self._set_alarm(loop, pending.due)
        alarm = loop.call_at(deadline.at, self._end, pending, deadline.seconds) if deadline else None
        try:
            return await pending.answer
        finally:
            del self._waiting[id(pending)]
            if alarm:
                alarm.cancel()

    def _set_alarm(self, loop: asyncio.AbstractEventLoop, due: float) -> asyncio.TimerHandle:
        # The timer of its last request must not keep a version, and its process, that was dropped.
        return loop.call_at(due, weak_callback(self._end_late), loop)

    def _end_late(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self._alarm = None
        for pending in self._waiting.values():
            if pending.due > now:
                self._alarm = self._set_alarm(loop, pending.due)
                break
            self._end(pending, self._limits.deadline_s)

    def _end(self, pending: Pending, seconds: float) -> None:
        if not pending.answer.done():
            pending.answer.set_exception(InferenceLate(self._servable.name, seconds))

    def _shapes(self, inputs: Mapping[str, Array]) -> tuple[tuple[int, ...], ...]:
        return tuple(inputs[name].shape[1:] for name in self.signature.inputs)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = self._take()
        # In a context of its own: what is logged of a batch is not about the request that happened to start it.
        self._running = loop.create_task(self._run(loop, batch), context=contextvars.Context()) if batch else None

    def _take(self) -> list[Pending]:
        """The oldest request that somebody still waits for, and those behind it that fit beside it."""
        batch: list[Pending] = []
        others: list[Pending] = []
        rows = 0
        while self._queue:
            pending = self._queue[0]
            if batch and pending.shapes == batch[0].shapes and rows + pending.rows > self._limits.max_rows:
                break
            self._queue.popleft()
            if batch and pending.shapes != batch[0].shapes:
                others.append(pending)
                continue
            self._queued -= self._room_of(pending)
            if not pending.answer.done():  # else its client has gone
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
        except Exception as error:  # a bug: whoever waits is told
            results = [error] * len(batch)
        self._start(loop)  # before anybody is answered: the next batch shall not wait for the answers of this one
        for pending, result in zip(batch, results, strict=True):
            if pending.answer.done():
                if isinstance(result, BaseException):
                    forget_stack(result)  # nobody will be told
            elif isinstance(result, BaseException):
                pending.answer.set_exception(result)
            else:
                pending.answer.set_result(result)
