"""What the routes of every protocol share: the models, the threads that work, the limits."""

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, ParamSpec, TypeVar

from millrace.config.sections.serve import Serve
from millrace.errors import MillraceError
from serve.errors import InferenceLate, InvalidRequest
from serve.inference.admission import Admission, Admitted, ServiceRate
from serve.inference.batching import Batcher, Limits
from serve.inference.deadlines import Deadline
from serve.inference.inputs import InferenceInput
from serve.inference.rowwise import Reported, RowValidator, answer_good_rows
from serve.isolation.offload import INLINE_BYTES, work
from serve.servables.domains import DomainGuard
from serve.servables.manager import ServableManager
from serve.servables.servable import Arrays, Servable
from serve.servables.signatures import SERVING_DEFAULT, Signature
from serve.servables.statistics import Statistics

_P = ParamSpec("_P")
_R = TypeVar("_R")

MAX_DIGITS: Final = 18
"""Of a version number; it fits an int64."""
WORKERS: Final = 32
"""Calls of models, and large bodies, that are worked on at the same time; the others wait.

Most threads only wait for a model's process: there are enough that one which hangs holds up no other model.
"""


VALUE_BYTES: Final = 128
"""To look at a value by itself takes as long as to decode so many bytes of a document."""


class Service:
    """The models, and the threads that answer for them.

    Args:
        manager: The loaded models.
        settings: Limits.
    """

    def __init__(self, manager: ServableManager, settings: Serve) -> None:
        self.manager = manager
        self._settings = settings
        self._limits = Limits(settings.max_batch_rows, settings.max_queued_rows, settings.infer_deadline_s)
        self.is_draining = False
        self.admission = Admission(settings.max_requests)
        self._states: dict[Servable, _VersionState] = {}
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="infer")
        # Loading takes seconds: in threads of its own it never stands before a prediction, nor before a status.
        self._loader = ThreadPoolExecutor(4, thread_name_prefix="load")

    @property
    def is_ready(self) -> bool:
        """Whether every model has a version that answers, and the service is not about to close."""
        return self.manager.is_ready and not self.is_draining

    def drain(self) -> float:
        """Be ready no more, though requests are still answered.

        Returns:
            For how many seconds.
        """
        self.is_draining = True
        return self._settings.drain_s

    def close(self) -> None:
        """Let go of the threads."""
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._loader.shutdown(wait=False, cancel_futures=True)

    async def servable(self, name: str, version: int | None = None, label: str | None = None) -> Servable:
        """A loaded version: of this number or label, by default the newest; loaded now if need be.

        Raises:
            ModelNotFound: No such model is served, or no such version is in the store.
            ModelNotReady: The version cannot be loaded.
            UnknownLabel: The model has no such label.
        """
        if label is not None:
            version = self.manager.version_of(name, label)
        found = self.manager.loaded(name, version)
        return found if found else await self.load(self.manager.get, name, version)

    def admitted(self, servable: Servable) -> Admitted:
        """A prediction is in the server, from its head to its answer: for a ``with`` statement.

        Args:
            servable: Who is to answer.

        Raises:
            Overloaded: There are as many as it takes, or the answer would be late; the body was not read.
        """
        target_s = self.manager.settings(servable.name).latency_target_s or self._settings.latency_target_s
        return self.admission.enter(self._state(servable).crowd, target_s)

    def convert(
        self, call: Callable[_P, _R], size: int, *arguments: _P.args, **_: _P.kwargs
    ) -> Coroutine[Any, Any, _R]:
        """Decode or encode: small things here, large ones in a thread, so that the event loop stays free.

        Args:
            call: The codec.
            size: Bytes that it has to do with.
            *arguments: Its own.
            **_: None.
        """
        return work(self._workers, size, call, *arguments, **_)

    async def load(self, call: Callable[_P, _R], *arguments: _P.args, **_: _P.kwargs) -> _R:
        """Ask the store in a thread."""
        bound = functools.partial(call, *arguments, **_)
        return await asyncio.get_running_loop().run_in_executor(self._loader, bound)

    async def infer(
        self,
        servable: Servable,
        signature: Signature,
        question: InferenceInput,
        size: int,
        outputs: Sequence[str] | None = None,
        deadline: Deadline | None = None,
    ) -> Arrays:
        """Answer a question, whatever protocol it came by.

        Args:
            servable: Who is asked.
            signature: Which of its functions.
            question: The values, still as they came.
            size: Bytes that they came in.
            outputs: Names wanted; by default all.
            deadline: When the client stops waiting.

        Raises:
            InvalidRequest: The values do not fit.
            NonFiniteOutput: An answer of a model of Millrace is NaN or infinite.
            InferenceFailed: TensorFlow raised.
            Overloaded: Too many rows wait already.
            InferenceLate: The answer took too long; whatever still computes it goes on.
        """
        started = time.perf_counter()
        state = self._state(servable)
        batcher = state.batchers.get(signature.name) or self._open(state, servable, signature)
        try:
            if servable.joins and signature.is_tabular and size <= INLINE_BYTES:
                answered = await batcher.ask(question, size, outputs, deadline)
            else:
                answered = await self._infer_decoded(batcher, question, size, outputs, deadline)
        except MillraceError:
            state.statistics.failed.add(time.perf_counter() - started)
            raise
        state.statistics.succeeded.add(time.perf_counter() - started)
        return answered

    async def _infer_decoded(
        self,
        batcher: Batcher,
        question: InferenceInput,
        size: int,
        outputs: Sequence[str] | None,
        deadline: Deadline | None,
    ) -> Arrays:
        seconds = self._settings.infer_deadline_s
        at = asyncio.get_running_loop().time() + seconds
        if deadline and deadline.at < at:
            seconds, at = deadline.seconds, deadline.at
        try:
            async with asyncio.timeout_at(at):
                inputs = await self.convert(question.inputs, size)
                return await batcher.infer(inputs, outputs, deadline, size)
        except TimeoutError as error:
            raise InferenceLate(batcher.model, seconds) from error

    async def report(
        self,
        servable: Servable,
        signature: Signature,
        rows: RowValidator,
        size: int,
        outputs: Sequence[str] | None = None,
        deadline: Deadline | None = None,
    ) -> Reported:
        """Answer the rows of a request that fit, and say of the others why they do not; see `infer`."""

        size = max(size, rows.count * len(signature.inputs) * VALUE_BYTES)

        async def ask(question: InferenceInput) -> Arrays:
            return await self.infer(servable, signature, question, size, outputs, deadline)

        wanted = {name: signature.outputs[name] for name in signature.wanted(outputs)}

        async def work(call: Callable[..., _R], *arguments: Any) -> _R:
            return await self.convert(call, size, *arguments)

        return await answer_good_rows(rows, ask, wanted, work)

    async def encode(
        self, servable: Servable, call: Callable[_P, _R], outputs: Arrays, *arguments: _P.args, **_: _P.kwargs
    ) -> _R:
        """Write an answer; see `convert`."""
        started = time.perf_counter()
        size = sum(values.nbytes for values in outputs.values())  # a string counts as a pointer
        written = await self.convert(call, size, *arguments, **_)
        self._state(servable).statistics.encode.add(time.perf_counter() - started)
        return written

    def statistics(self) -> list[tuple[Servable, Statistics, int]]:
        """Of every loaded version, what it has done, and how many rows wait for it."""
        states = ((s, self._state(s)) for name in self.manager.names for s in self.manager.all_loaded(name))
        return [(s, state.statistics, sum(b.queued for b in state.batchers.values())) for s, state in states]

    def batch_sizes(self, name: str) -> list[int]:
        """About how many rows the batches of a model have had."""
        return sorted({rows for s in self.manager.all_loaded(name) for rows in self._state(s).statistics.sizes()})

    def _state(self, servable: Servable) -> "_VersionState":
        state = self._states.get(servable)
        if state is None:
            loaded = {s for name in self.manager.names for s in self.manager.all_loaded(name)}
            # What was dropped is let go; a queue that is still worked on holds its version by itself.
            self._states = {s: state for s, state in self._states.items() if s in loaded}
            state = _VersionState()
            if servable in loaded:  # else it was dropped while it answered, and nobody would let go of it again
                self._states[servable] = state
        return state

    def _open(self, state: "_VersionState", servable: Servable, signature: Signature) -> Batcher:
        guard = None
        if servable.domains and signature.name == SERVING_DEFAULT:
            guard = DomainGuard(
                servable.domains, lambda: self.manager.settings(servable.name).domains, state.statistics.outside
            )
        batcher = Batcher(servable, signature, self._workers, state.statistics, self._limits, guard)
        state.batchers[signature.name] = batcher
        return batcher


@dataclass(frozen=True)
class _VersionState:
    """Where a loaded version is asked."""

    batchers: dict[str, Batcher] = field(default_factory=dict)
    statistics: Statistics = field(default_factory=Statistics)
    crowd: ServiceRate = field(default_factory=ServiceRate)


def version_of(text: str | None) -> int | None:
    """The version in a path; none, or 0 as some clients write it, means the newest.

    Raises:
        InvalidRequest: It is no number that a version can have.
    """
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > MAX_DIGITS:
        raise InvalidRequest(f"Failed to convert version: {text[:64]}: expected at most {MAX_DIGITS} digits")
    return int(text) or None
