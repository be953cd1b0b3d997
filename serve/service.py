"""What the routes of every protocol share: the models, the threads that work, the limits."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from fastapi import Request

from pipelines.config.profile import Serve
from serve.edge import read_body
from serve.errors import InvalidRequest
from serve.manager import ServableManager
from serve.metrics import Metrics
from serve.protocols.values import Array
from serve.servable import Arrays, Servable
from serve.signatures import SERVING_DEFAULT

MAX_DIGITS: Final = 18
"""Of a version number; it fits an int64."""
WORKERS: Final = max(2, min(8, os.cpu_count() or 2))
"""Requests that are decoded, answered and encoded at the same time; the others wait."""


class Service:
    """The models, and the threads that answer for them.

    Args:
        manager: The loaded models.
        settings: Limits.
        metrics: Where rows are counted.
    """

    def __init__(self, manager: ServableManager, settings: Serve, metrics: Metrics) -> None:
        self.manager = manager
        self.metrics = metrics
        self._max_body = settings.max_body_mb * 1024 * 1024
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="infer")
        # Loading takes seconds: in a thread of its own it never stands before a prediction.
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")

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
        return found or await self.load(self.manager.get, name, version)

    async def body(self, request: Request) -> bytes:
        """A request's body; see `read_body` for its errors."""
        return await read_body(request, self._max_body)

    async def work(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Decode, answer and encode in a thread, so that the event loop stays free."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, call, *arguments)

    async def load(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Ask the store in a thread, one call after the other."""
        return await asyncio.get_running_loop().run_in_executor(self._loader, call, *arguments)

    def infer(
        self,
        servable: Servable,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        signature: str = SERVING_DEFAULT,
    ) -> Arrays:
        """Answer for tensors, whatever protocol they came by; see `Servable.infer`."""
        started = time.perf_counter()
        answered = servable.infer(inputs, outputs, signature)
        rows = next((len(values) for values in inputs.values() if values.ndim), 1)
        self.metrics.count_rows(servable, rows, time.perf_counter() - started)
        return answered


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
