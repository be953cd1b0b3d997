"""Loads model versions for clients, and reads the model store, without making other requests wait."""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, ParamSpec, TypeVar

from serve.errors import Overloaded

_P = ParamSpec("_P")
_R = TypeVar("_R")

THREADS: Final = 4
"""Models of which a version is loaded at the same time."""
MAX_WAITING: Final = 64
"""Versions that clients wait for; the next client gets 429."""


class Loads:
    """Calls that take long, in threads.

    A load takes seconds. However many clients wait for it, it takes one thread; and of each model, one version is
    loaded at a time. Reading the store has threads of its own, so that the status of a model does not wait for a load.
    All methods are for the event loop.
    """

    def __init__(self) -> None:
        self._loaders = ThreadPoolExecutor(THREADS, thread_name_prefix="load")
        self._readers = ThreadPoolExecutor(THREADS, thread_name_prefix="store")
        self._turns: dict[str, asyncio.Lock] = {}
        self._running: dict[tuple[str, object], asyncio.Task[Any]] = {}

    async def load(self, name: str, key: object, call: Callable[_P, _R], *arguments: _P.args, **_: _P.kwargs) -> _R:
        """Call a function that loads a version, in a thread. Callers with the same name and key share one call.

        The call continues if its callers do not wait any more.

        Args:
            name: The model.
            key: What is loaded.
            call: The function.
            *arguments: Its arguments.
            **_: None.

        Raises:
            Overloaded: Too many calls wait.
        """
        task = self._running.get((name, key))
        if task is None:
            if len(self._running) >= MAX_WAITING:
                raise Overloaded(f"{len(self._running)} model versions are being loaded")
            bound = functools.partial(call, *arguments, **_)
            task = asyncio.get_running_loop().create_task(self._load(name, bound))
            self._running[name, key] = task
            task.add_done_callback(functools.partial(self._forget, (name, key)))
        loaded: _R = await asyncio.shield(task)
        return loaded

    async def _load(self, name: str, call: Callable[[], _R]) -> _R:
        async with self._turns.setdefault(name, asyncio.Lock()):
            return await asyncio.get_running_loop().run_in_executor(self._loaders, call)

    def _forget(self, key: tuple[str, object], task: "asyncio.Task[Any]") -> None:
        del self._running[key]
        if not any(name == key[0] for name, _ in self._running):
            self._turns.pop(key[0], None)  # clients may ask for names of any number
        if not task.cancelled():
            task.exception()  # mark it as seen: its callers may be gone

    async def read(self, call: Callable[_P, _R], *arguments: _P.args, **_: _P.kwargs) -> _R:
        """Call a function that reads the model store, in a thread."""
        bound = functools.partial(call, *arguments, **_)
        return await asyncio.get_running_loop().run_in_executor(self._readers, bound)

    def close(self) -> None:
        """Stop the threads."""
        self._loaders.shutdown(wait=False, cancel_futures=True)
        self._readers.shutdown(wait=False, cancel_futures=True)
