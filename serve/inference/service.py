"""Runs predictions for the routes of every protocol: finds the version, admits, batches, and measures."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, ParamSpec, TypeVar

from millrace.config.sections.serve import Serve
from millrace.errors import MillraceError
from millrace.models.store import MAX_VERSION
from serve.errors import InferenceLate, InvalidRequest
from serve.inference.admission import Admission, Admitted, ServiceRate
from serve.inference.batching import Batcher, Limits
from serve.inference.deadlines import Deadline
from serve.inference.inputs import InferenceInput
from serve.inference.loads import Loads
from serve.inference.rowwise import Reported, RowValidator, answer_good_rows
from serve.isolation.offload import INLINE_BYTES, work
from serve.servables.domains import DomainGuard
from serve.servables.manager import ServableManager
from serve.servables.servable import Arrays, Servable
from serve.servables.signatures import SERVING_DEFAULT, Signature

_P = ParamSpec("_P")
_R = TypeVar("_R")

WORKERS: Final = 32
"""Threads for calls of models and for large bodies.

Most of them only wait for the process of a model. There are enough that a process that hangs does not block the others.
"""
VALUE_BYTES: Final = 128
"""Checking one value by itself takes as long as decoding this many bytes of a document."""


class Service:
    """Runs predictions, whatever protocol they came by; has no HTTP in it.

    Args:
        manager: The loaded models.
        settings: The limits.

    Attributes:
        manager: The loaded models.
        admission: Counts the predictions in the server.
        is_draining: Whether the server is about to stop.
    """

    def __init__(self, manager: ServableManager, settings: Serve) -> None:
        self.manager = manager
        self._settings = settings
        self._limits = Limits(settings.max_batch_rows, settings.max_queued_rows, settings.infer_deadline_s)
        self.is_draining = False
        self.admission = Admission(settings.max_requests)
        self._states: dict[Servable, _VersionState] = {}
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="infer")
        self.loads = Loads()

    @property
    def is_ready(self) -> bool:
        """Whether the server is not about to stop, and the models are loaded that `serve.ready_when` says."""
        is_loaded = self.manager.is_any_ready if self._settings.ready_when == "any" else self.manager.is_ready
        return is_loaded and not self.is_draining

    def drain(self) -> float:
        """Report the server as not ready from now on; requests are still answered.

        Returns:
            The number of seconds until the server stops.
        """
        self.is_draining = True
        return self._settings.drain_s

    def close(self) -> None:
        """Stop the threads."""
        self._workers.shutdown(wait=False, cancel_futures=True)
        self.loads.close()

    async def servable(self, name: str, version: int | None = None, label: str | None = None) -> Servable:
        """The version with this number or label, by default the newest. It is loaded now if necessary.

        Raises:
            ModelNotFound: No such model is served, or no such version is in the store.
            ModelNotReady: The version cannot be loaded.
            UnknownLabel: The model has no such label.
            Overloaded: Too many other versions are being loaded or are in use.
        """
        if label is not None:
            version = self.manager.version_of(name, label)
        found = self.manager.use(name, version)
        if found:
            return found
        if version is None:
            return self.manager.get(name)  # it loads nothing, and must not wait for what others load
        return await self.loads.load(name, version, self.manager.get, name, version)

    def check_admission(self, servable: Servable) -> None:
        """Check that a prediction would be accepted, before its body is read.

        Args:
            servable: The version that it is for.

        Raises:
            Overloaded: Too many predictions are in the server, or the estimated wait is over the latency target.
        """
        self.admission.check(self._state(servable).rate, self._target_s(servable))

    def admitted(self, servable: Servable) -> Admitted:
        """Count a prediction from its complete body to its answer, by a ``with`` statement; see `check_admission`."""
        return self.admission.enter(self._state(servable).rate, self._target_s(servable))

    def _target_s(self, servable: Servable) -> float | None:
        return self.manager.settings(servable.name).latency_target_s or self._settings.latency_target_s

    def convert(
        self, call: Callable[_P, _R], size: int, *arguments: _P.args, **_: _P.kwargs
    ) -> Coroutine[Any, Any, _R]:
        """Decode or encode: small values in the event loop, large ones in a thread.

        Args:
            call: The codec.
            size: Bytes that it reads or writes.
            *arguments: Arguments of the codec.
            **_: None.
        """
        return work(self._workers, size, call, *arguments, **_)

    async def infer(
        self,
        servable: Servable,
        signature: Signature,
        request: InferenceInput,
        size: int,
        outputs: Sequence[str] | None = None,
        deadline: Deadline | None = None,
    ) -> Arrays:
        """Run a model on the values of a request.

        Args:
            servable: The model version.
            signature: The function of the model.
            request: The values, not decoded yet.
            size: Bytes of the request body.
            outputs: Names of the wanted outputs; by default all.
            deadline: When the client stops waiting.

        Raises:
            InvalidRequest: The values do not fit.
            NonFiniteOutput: An output of a model trained by Millrace is NaN or infinite.
            InferenceFailed: TensorFlow raised an error.
            Overloaded: Too many rows wait already.
            InferenceLate: The answer took too long. A computation that has started continues.
        """
        started = time.perf_counter()
        state, statistics = self._state(servable), servable.statistics
        batcher = state.batchers.get(signature.name) or self._open(state, servable, signature)
        try:
            if servable.joins and signature.is_tabular and size <= INLINE_BYTES:
                answered = await batcher.infer_joined(request, size, outputs, deadline)
            else:
                answered = await self._infer_decoded(batcher, request, size, outputs, deadline)
        except MillraceError:
            statistics.failed.add(time.perf_counter() - started)
            raise
        statistics.succeeded.add(time.perf_counter() - started)
        return answered

    async def _infer_decoded(
        self,
        batcher: Batcher,
        request: InferenceInput,
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
                inputs = await self.convert(request.inputs, size)
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
        """Run a model on the good rows of a request, and report why the others are bad; see `infer`."""
        size = max(size, rows.count * len(signature.inputs) * VALUE_BYTES)

        async def run(request: InferenceInput) -> Arrays:
            return await self.infer(servable, signature, request, size, outputs, deadline)

        wanted = {name: signature.outputs[name] for name in signature.wanted(outputs)}

        async def work(call: Callable[..., _R], *arguments: Any) -> _R:
            return await self.convert(call, size, *arguments)

        return await answer_good_rows(rows, run, wanted, work)

    async def encode(
        self, servable: Servable, call: Callable[_P, _R], outputs: Arrays, *arguments: _P.args, **_: _P.kwargs
    ) -> _R:
        """Encode a response and measure the time; see `convert`."""
        started = time.perf_counter()
        size = sum(values.nbytes for values in outputs.values())  # strings count as pointers
        written = await self.convert(call, size, *arguments, **_)
        servable.statistics.encode.add(time.perf_counter() - started)
        return written

    def statistics(self) -> list[tuple[Servable, int]]:
        """Every loaded version, and the rows in its queues."""
        states = ((s, self._state(s)) for name in self.manager.names for s in self.manager.all_loaded(name))
        return [(s, sum(b.queued for b in state.batchers.values())) for s, state in states]

    def _state(self, servable: Servable) -> "_VersionState":
        """The queues of a version; only for the event loop, as the queues are."""
        state = self._states.get(servable)
        if state is None:
            loaded = {s for name in self.manager.names for s in self.manager.all_loaded(name)}
            # Remove the versions that are not loaded any more. A running batch keeps its own version.
            self._states = {s: state for s, state in self._states.items() if s in loaded}
            state = _VersionState()
            if servable in loaded:  # else unloaded during this request: nothing would remove its state
                self._states[servable] = state
        return state

    def _open(self, state: "_VersionState", servable: Servable, signature: Signature) -> Batcher:
        guard = None
        if servable.domains and signature.name == SERVING_DEFAULT:
            guard = DomainGuard(
                servable.domains, lambda: self.manager.settings(servable.name).domains, servable.statistics.outside
            )
        batcher = Batcher(servable, signature, self._workers, self._limits, guard)
        state.batchers[signature.name] = batcher
        return batcher


@dataclass(frozen=True)
class _VersionState:
    """The queues of a loaded version."""

    batchers: dict[str, Batcher] = field(default_factory=dict)
    rate: ServiceRate = field(default_factory=ServiceRate)


def version_of(text: str | None) -> int | None:
    """Parse the version in a path. None and 0, which some clients send, mean the newest.

    Raises:
        InvalidRequest: It is not a number that a version can have.
    """
    if text is None:
        return None
    digits = text.lstrip("0") or "0"
    # Python converts thousands of digits slowly, and more only with an error.
    is_number = text.isascii() and text.isdigit() and len(digits) <= len(str(MAX_VERSION))
    if not is_number or int(digits) > MAX_VERSION:
        raise InvalidRequest(f"Failed to convert version: {text[:64]} to numeric.")
    return int(digits) or None
