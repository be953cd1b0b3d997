"""Joins requests into batches without a waiting window: what arrives while a batch runs forms the next one.

A lone request never waits for company, and under load a batch is as large as the last one was slow. Requests are
checked against the signature before they queue, and only those of equal inner shapes share a batch, so that none can
harm its neighbours; if TensorFlow still refuses a batch, its members are asked again one by one.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np

from pipelines.errors import MillraceError
from serve.errors import InferenceFailed, InvalidRequest, Overloaded
from serve.servable import Array, Arrays, Servable
from serve.signatures import Signature

logger = logging.getLogger(__name__)

Shapes = tuple[tuple[int, ...], ...]


@dataclass
class _Pending:
    """A request in the queue."""

    inputs: Mapping[str, Array]
    outputs: Sequence[str] | None
    rows: int
    shapes: Shapes
    answer: "asyncio.Future[Arrays]" = field(repr=False)


class Batcher:
    """The queue of one signature of a loaded version. Lives on one event loop; TensorFlow runs in other threads.

    Args:
        servable: What answers.
        signature: Which of its functions.
        executor: Runs the calls.
        max_rows: Of one batch; a larger request runs alone.
        max_queued: Rows that may wait; a request that would make it more is refused at once.
    """

    def __init__(
        self, servable: Servable, signature: Signature, executor: Executor, *, max_rows: int, max_queued: int
    ) -> None:
        self._servable = servable
        self._signature = signature
        self._executor = executor
        self._max_rows = max_rows
        self._max_queued = max_queued
        self._queue: deque[_Pending] = deque()
        self._queued = 0
        self._is_running = False

    @property
    def queued(self) -> int:
        """Rows that wait."""
        return self._queued

    async def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> Arrays:
        """Answer for tensors; see `Servable.infer` for the arguments and errors.

        Raises:
            Overloaded: Too many rows wait already; nothing was computed.
        """
        rows = self._servable.check(self._signature, inputs, outputs)
        loop = asyncio.get_running_loop()
        if rows is None:  # nothing counts rows in it: it cannot be joined with others
            return await loop.run_in_executor(self._executor, self._run_alone, inputs, outputs)
        if self._queued and self._queued + rows > self._max_queued:
            raise Overloaded(self._servable.name, self._queued)
        shapes = tuple(inputs[name].shape[1:] for name in self._signature.inputs)
        pending = _Pending(inputs, outputs, rows, shapes, loop.create_future())
        self._queue.append(pending)
        self._queued += rows
        if not self._is_running:
            self._start(loop)
        return await pending.answer

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = self._take()
        # Set before the task starts: a request that arrives in between must not start a batch of its own.
        self._is_running = bool(batch)
        if batch:
            task = loop.run_in_executor(self._executor, self._run, batch)
            task.add_done_callback(lambda done: self._finish(loop, batch, done))

    def _take(self) -> list[_Pending]:
        """The oldest request that somebody still waits for, and those behind it that fit beside it."""
        batch: list[_Pending] = []
        others: list[_Pending] = []
        rows = 0
        while self._queue:
            pending = self._queue[0]
            if batch and pending.shapes == batch[0].shapes and rows + pending.rows > self._max_rows:
                break
            self._queue.popleft()
            if pending.answer.done():  # its client has gone
                self._queued -= pending.rows
            elif batch and pending.shapes != batch[0].shapes:
                others.append(pending)
            else:
                batch.append(pending)
                rows += pending.rows
        self._queue.extendleft(reversed(others))
        self._queued -= rows
        return batch

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[_Pending],
        done: "asyncio.Future[list[Arrays | MillraceError]]",
    ) -> None:
        self._start(loop)  # before anybody is answered: the next batch shall not wait for the answers of this one
        error = done.exception()
        results = [error] * len(batch) if error else done.result()
        for pending, result in zip(batch, results, strict=True):
            if pending.answer.done():
                continue
            if isinstance(result, BaseException):
                pending.answer.set_exception(result)
            else:
                pending.answer.set_result(result)

    def _run_alone(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None) -> Arrays:
        answered = self._servable.answer(self._signature, inputs, None)
        return self._servable.select(self._signature, answered, outputs)

    def _run(self, batch: list[_Pending]) -> list[Arrays | MillraceError]:
        if len(batch) == 1:
            return [self._answer_one(batch[0])]
        joined = {name: np.concatenate([p.inputs[name] for p in batch]) for name in self._signature.inputs}
        try:
            answered = self._servable.answer(self._signature, joined, sum(p.rows for p in batch))
        except (InferenceFailed, InvalidRequest) as error:
            logger.warning("a batch of %d requests failed, each is asked again alone: %s", len(batch), error)
            return [self._answer_one(pending) for pending in batch]
        results: list[Arrays | MillraceError] = []
        start = 0
        for pending in batch:
            end = start + pending.rows
            part = {name: values[start:end] for name, values in answered.items()}
            results.append(self._select(part, pending))
            start = end
        return results

    def _answer_one(self, pending: _Pending) -> Arrays | MillraceError:
        try:
            return self._select(self._servable.answer(self._signature, pending.inputs, pending.rows), pending)
        except (InferenceFailed, InvalidRequest) as error:
            return error

    def _select(self, answered: Arrays, pending: _Pending) -> Arrays | MillraceError:
        try:
            return self._servable.select(self._signature, answered, pending.outputs)
        except MillraceError as error:
            return error
