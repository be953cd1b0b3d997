"""One TensorFlow call for all requests of a batch; an error of one request does not affect the others.

It runs on the event loop, and gives long work to threads. For small batches, handing over would take longer.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import numpy as np

from millrace.errors import MillraceError
from serve.errors import BadValue, InferenceFailed, OutsideDomain
from serve.garbage import forget_stack
from serve.inference.inputs import Columns, InferenceInput
from serve.isolation.offload import PARSED, work
from serve.servables.domains import DomainGuard
from serve.servables.servable import Array, Arrays, Servable, non_finite_rows
from serve.servables.signatures import Signature
from serve.values.arrays import decode_values

logger = logging.getLogger(__name__)

Result = Arrays | Exception
"""The outputs for a request, or its error."""
MAX_BAD: Final = 4
"""After this many bad requests, the rest of a batch is decoded one by one."""


@dataclass(slots=True)
class Pending:
    """A request in the queue."""

    request: InferenceInput
    outputs: Sequence[str] | None
    rows: int
    answer: asyncio.Future[Arrays] = field(repr=False)
    shapes: tuple[tuple[int, ...], ...]
    """Shape of one row, for each input."""
    size: int = 0
    """Bytes of the request body."""
    inputs: Arrays | None = None
    since: float = field(default_factory=time.perf_counter)
    due: float = 0.0
    """When the queue's deadline is over, by the clock of the event loop."""


class JointCalls:
    """Runs the batches of one signature.

    Args:
        servable: The model version.
        signature: The function of the model.
        executor: Threads for long work.
        guard: Checks the values against the model's domains.
    """

    def __init__(
        self,
        servable: Servable,
        signature: Signature,
        executor: Executor,
        guard: DomainGuard | None = None,
    ) -> None:
        self._servable = servable
        self._executor = executor
        self._guard = guard
        self._signature = signature
        self._statistics = servable.statistics

    async def run_alone(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None, size: int) -> Arrays:
        """Run a request whose inputs do not count rows."""
        answered = await self._compute(inputs, None, size)
        return self._servable.select(self._signature, answered, outputs)

    async def _compute(self, inputs: Mapping[str, Array], rows: int | None, size: int) -> Arrays:
        started = time.perf_counter()
        answered = await self._servable.answer_soon(self._executor, self._signature, inputs, rows, size)
        self._statistics.compute.add(time.perf_counter() - started)
        self._statistics.batch_rows.add(1 if rows is None else rows)
        return answered

    async def run(self, batch: list[Pending]) -> list[Result]:
        """Run a batch. Each request gets its own outputs or its own error."""
        results: dict[int, Result] = {}
        size = sum(pending.size for pending in batch) // PARSED
        started = time.perf_counter()
        self._statistics.queue.add(*(started - pending.since for pending in batch))
        members, inputs = await work(self._executor, size, self._prepare, batch, results)
        self._statistics.decode.add(time.perf_counter() - started)
        if members:
            await self._answer(members, inputs, results, size)
        return [results[id(pending)] for pending in batch]

    def _prepare(self, batch: list[Pending], results: dict[int, Result]) -> tuple[list[Pending], Arrays]:
        """The good requests and their joined tensors; the others have their error in the results."""
        members, inputs = self._decode(batch, results)
        if self._guard and members:
            members, inputs = self._keep_within(self._guard, members, inputs, results)
        return members, inputs

    def _decode(self, batch: list[Pending], results: dict[int, Result]) -> tuple[list[Pending], Arrays]:
        """The requests whose values fit, and their joined tensors."""
        joined = [(p, c) for p in batch if p.inputs is None and (c := p.request.columns())]
        for pending, columns in joined:
            pending.rows = len(next(iter(columns.values())))
        together: Arrays = {}
        for _ in range(MAX_BAD):
            if not joined:
                break
            try:
                exact = any(pending.request.is_exact for pending, _ in joined)
                together = self._decode_together([columns for _, columns in joined], exact=exact)
                break
            except BadValue as error:
                bad = _member_at(joined, error.position)
                self._decode_alone(joined.pop(bad)[0], results)
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
        return members, {n: np.concatenate([part[n] for part in parts]) for n in self._signature.inputs if parts}

    def _decode_together(self, columns: Sequence[Columns], *, exact: bool) -> Arrays:
        return {
            name: decode_values(list(chain.from_iterable(c[name] for c in columns)), info, exact=exact)
            for name, info in self._signature.inputs.items()
        }

    def _decode_alone(self, pending: Pending, results: dict[int, Result]) -> None:
        if pending.inputs is not None:
            return
        try:
            inputs = pending.request.inputs()
            pending.rows = self._servable.check(self._signature, inputs) or 0
            pending.inputs = inputs
        except Exception as error:  # even a bug must not affect the other requests
            results[id(pending)] = error

    def _keep_within(
        self, guard: DomainGuard, members: list[Pending], inputs: Arrays, results: dict[int, Result]
    ) -> tuple[list[Pending], Arrays]:
        """The requests whose values the domains allow, and their joined tensors."""
        found, is_refused = guard.check(inputs)
        forbidden = [outside for outside in found if outside.kind == "contract" and is_refused]
        if not forbidden:
            guard.count(found)
            return members, inputs
        kept, answered, start = [], np.ones(sum(p.rows for p in members), np.bool_), 0
        for pending in members:
            mine = slice(start, start := start + pending.rows)
            breaches = [
                (int(row), outside.feature.name, outside.rule(inputs[outside.feature.name][mine][row]))
                for outside in forbidden
                for row in np.flatnonzero(outside.rows[mine])
            ]
            if breaches:
                results[id(pending)] = OutsideDomain(sorted(breaches))
                answered[mine] = False
            else:
                kept.append(pending)
        guard.count(found, answered)
        return kept, {name: values[answered] for name, values in inputs.items()}

    async def _answer(self, members: list[Pending], inputs: Arrays, results: dict[int, Result], size: int) -> None:
        try:
            answered = await self._compute(inputs, sum(p.rows for p in members), size)
            if len(members) > 1:
                _check_lengths(self._servable, answered, sum(p.rows for p in members))
        except Exception as error:  # of TensorFlow, or a bug: run each request again, so that only the bad one fails
            if len(members) == 1:
                results[id(members[0])] = error
                return
            logger.warning("a batch of %d requests failed, each runs again alone: %s", len(members), error)
            forget_stack(error)
            for pending, part in _split(members, inputs):
                if pending.answer.done():  # its client has gone: after a hang, each call could take as long again
                    results[id(pending)] = error
                else:
                    await self._answer([pending], part, results, size)
            return
        written = sum(values.nbytes for values in answered.values())
        await work(self._executor, written, self._share, members, answered, results)

    def _share(self, members: list[Pending], answered: Arrays, results: dict[int, Result]) -> None:
        """Give each request its own rows."""
        is_finite = len(members) > 1 and not non_finite_rows(answered)  # checked once for all
        for pending, part in _split(members, answered):
            try:
                mine = self._servable.select(self._signature, part, pending.outputs, is_finite=is_finite)
                results[id(pending)] = mine
            except MillraceError as error:
                results[id(pending)] = error


def _member_at(joined: Sequence[tuple[Pending, Columns]], position: int) -> int:
    """The index of the request that has the value at a position of the joined values."""
    for number, (pending, _) in enumerate(joined):
        position -= pending.rows
        if position < 0:
            return number
    raise IndexError(position)


def _check_lengths(servable: Servable, answered: Arrays, rows: int) -> None:
    for name, values in answered.items():
        if values.shape[:1] != (rows,):
            reason = f"output '{name}' has shape {values.shape} for {rows} rows: its requests cannot be joined"
            raise InferenceFailed(servable.name, servable.version, reason)


def _split(members: Sequence[Pending], arrays: Arrays) -> list[tuple[Pending, Arrays]]:
    """The rows of each request."""
    if len(members) == 1:
        return [(members[0], arrays)]
    parts = []
    start = 0
    for pending in members:
        end = start + pending.rows
        parts.append((pending, {name: values[start:end] for name, values in arrays.items()}))
        start = end
    return parts
