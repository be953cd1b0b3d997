"""Joins requests into batches without a waiting window: what arrives while a batch runs forms the next one.

A lone request never waits for company, and under load a batch is as large as the last one was slow. Values that are
still JSON are decoded for the whole batch at once, which is ten times cheaper than one request after the other.
Nothing reaches TensorFlow that was not checked against the signature: a request whose values do not fit is taken out
and told so, only those of equal inner shapes share a call, and if TensorFlow refuses a call its members are asked again
one by one. None can harm its neighbours.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import numpy as np

from pipelines.errors import MillraceError
from serve.errors import BadValue, InferenceFailed, Overloaded
from serve.protocols.values import decode_values
from serve.questions import Columns, Decoded, Question
from serve.servable import Array, Arrays, Servable
from serve.signatures import Signature
from serve.statistics import Statistics

logger = logging.getLogger(__name__)

Result = Arrays | Exception
"""What a request is answered with."""
MAX_CULPRITS: Final = 4
"""After so many bad values in a batch its requests are decoded one by one."""


@dataclass
class _Pending:
    """A request in the queue."""

    question: Question
    outputs: Sequence[str] | None
    rows: int
    answer: "asyncio.Future[Arrays]" = field(repr=False)
    shapes: tuple[tuple[int, ...], ...]
    """Of one row of each input."""
    inputs: Arrays | None = None
    since: float = field(default_factory=time.perf_counter)


class Batcher:
    """The queue of one signature of a loaded version. Lives on one event loop; TensorFlow runs in other threads.

    Args:
        servable: What answers.
        signature: Which of its functions.
        executor: Runs the calls.
        statistics: Where phases are counted.
        max_rows: Of one batch; a larger request runs alone.
        max_queued: Rows that may wait; a request that would make it more is refused at once.
    """

    def __init__(
        self,
        servable: Servable,
        signature: Signature,
        executor: Executor,
        statistics: Statistics,
        *,
        max_rows: int,
        max_queued: int,
    ) -> None:
        self.signature = signature
        self._servable = servable
        self._executor = executor
        self._statistics = statistics
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
        rows = self._servable.check(self.signature, inputs, outputs)
        loop = asyncio.get_running_loop()
        if rows is None:  # nothing counts rows in it: it cannot be joined with others
            return await loop.run_in_executor(self._executor, self._run_alone, inputs, outputs)
        pending = _Pending(Decoded(inputs), outputs, rows, loop.create_future(), self._shapes(inputs), dict(inputs))
        return await self._enqueue(pending, loop)

    async def ask(self, question: Question, rows: int, outputs: Sequence[str] | None = None) -> Arrays:
        """Answer for values that are decoded together with those of others; only for a tabular signature.

        Args:
            question: What is asked.
            rows: About how many rows it has.
            outputs: Names wanted, which the signature has.

        Raises:
            InvalidRequest: The values do not fit.
            Overloaded: Too many rows wait already; nothing was computed.
        """
        loop = asyncio.get_running_loop()
        flat = ((),) * len(self.signature.inputs)
        return await self._enqueue(_Pending(question, outputs, rows, loop.create_future(), flat), loop)

    async def _enqueue(self, pending: _Pending, loop: asyncio.AbstractEventLoop) -> Arrays:
        if self._queued and self._queued + pending.rows > self._max_queued:
            raise Overloaded(f"{self._queued} rows wait for model '{self._servable.name}'")
        self._queue.append(pending)
        self._queued += pending.rows
        if not self._is_running:
            self._start(loop)
        return await pending.answer

    def _shapes(self, inputs: Mapping[str, Array]) -> tuple[tuple[int, ...], ...]:
        return tuple(inputs[name].shape[1:] for name in self.signature.inputs)

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
        self, loop: asyncio.AbstractEventLoop, batch: list[_Pending], done: "asyncio.Future[list[Result]]"
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

    # What follows runs in the executor's threads.

    def _run_alone(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None) -> Arrays:
        answered = self._compute(inputs, None)
        return self._servable.select(self.signature, answered, outputs)

    def _compute(self, inputs: Mapping[str, Array], rows: int | None) -> Arrays:
        started = time.perf_counter()
        answered = self._servable.answer(self.signature, inputs, rows)
        self._statistics.compute.add(time.perf_counter() - started)
        self._statistics.batch_rows.add(1 if rows is None else rows)
        return answered

    def _run(self, batch: list[_Pending]) -> list[Result]:
        results: dict[int, Result] = {}
        started = time.perf_counter()
        self._statistics.queue.add(*(started - pending.since for pending in batch))
        members, inputs = self._decode(batch, results)
        self._statistics.decode.add(time.perf_counter() - started)
        if members:
            self._answer(members, inputs, results)
        return [results[id(pending)] for pending in batch]

    def _decode(self, batch: list[_Pending], results: dict[int, Result]) -> tuple[list[_Pending], Arrays]:
        """Those whose values fit, and their tensors one behind the other; the others get their error as result."""
        joined = [(p, c) for p in batch if p.inputs is None and (c := p.question.columns())]
        for pending, columns in joined:
            pending.rows = len(next(iter(columns.values())))
        together: Arrays = {}
        for _ in range(MAX_CULPRITS):
            if not joined:
                break
            try:
                exact = any(pending.question.is_exact for pending, _ in joined)
                together = self._decode_together([columns for _, columns in joined], exact=exact)
                break
            except BadValue as error:
                culprit = _member_at(joined, error.position)
                self._decode_alone(joined.pop(culprit)[0], results)
        members = [pending for pending, _ in joined] if together else []
        known = set(map(id, members))
        parts = [together] if together else []
        for pending in batch:
            if id(pending) in known or id(pending) in results:
                continue
            self._decode_alone(pending, results)
            if pending.inputs is not None:
                members.append(pending)
                parts.append(pending.inputs)
        if len(parts) == 1:
            return members, parts[0]
        return members, {n: np.concatenate([part[n] for part in parts]) for n in self.signature.inputs if parts}

    def _decode_together(self, columns: Sequence[Columns], *, exact: bool) -> Arrays:
        return {
            name: decode_values(list(chain.from_iterable(c[name] for c in columns)), info, exact=exact)
            for name, info in self.signature.inputs.items()
        }

    def _decode_alone(self, pending: _Pending, results: dict[int, Result]) -> None:
        if pending.inputs is not None:
            return
        try:
            inputs = pending.question.inputs()
            pending.rows = self._servable.check(self.signature, inputs) or 0
            pending.inputs = inputs
        except Exception as error:  # a bug that one request meets is not its neighbours' fault
            results[id(pending)] = error

    def _answer(self, members: list[_Pending], inputs: Arrays, results: dict[int, Result]) -> None:
        try:
            answered = self._compute(inputs, sum(p.rows for p in members))
            if len(members) > 1:
                _check_lengths(self._servable, answered, sum(p.rows for p in members))
        except Exception as error:  # TensorFlow's, or a bug: the members are asked again, and only the culprit fails
            if len(members) == 1:
                results[id(members[0])] = error
                return
            logger.warning("a batch of %d requests failed, each is asked again alone: %s", len(members), error)
            for pending, part in _split(members, inputs):
                self._answer([pending], part, results)
            return
        for pending, part in _split(members, answered):
            try:
                results[id(pending)] = self._servable.select(self.signature, part, pending.outputs)
            except MillraceError as error:
                results[id(pending)] = error


def _member_at(joined: Sequence[tuple[_Pending, Columns]], position: int) -> int:
    """Whose value stands at a position of all values one behind the other."""
    for number, (pending, _) in enumerate(joined):
        position -= pending.rows
        if position < 0:
            return number
    raise IndexError(position)


def _check_lengths(servable: Servable, answered: Arrays, rows: int) -> None:
    for name, values in answered.items():
        if values.shape[:1] != (rows,):
            reason = f"output '{name}' has shape {values.shape} for {rows} rows: it is no model to join requests for"
            raise InferenceFailed(servable.name, servable.version, reason)


def _split(members: Sequence[_Pending], arrays: Arrays) -> list[tuple[_Pending, Arrays]]:
    """Each member's rows."""
    if len(members) == 1:
        return [(members[0], arrays)]
    parts = []
    start = 0
    for pending in members:
        end = start + pending.rows
        parts.append((pending, {name: values[start:end] for name, values in arrays.items()}))
        start = end
    return parts
