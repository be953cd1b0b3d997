"""Long work runs in threads, so that the event loop stays free; short work runs at once."""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")

INLINE_BYTES: Final = 65_536
"""The event loop processes values up to this size: handing them to a thread would take longer."""
PARSED: Final = 4
"""A batch of parsed bodies may be this many times as large; see docs/adr/0018."""


async def work(executor: Executor, size: int, call: Callable[_P, _R], *arguments: _P.args, **named: _P.kwargs) -> _R:
    """Call a function, in a thread if it processes many bytes.

    Args:
        executor: The threads.
        size: The number of bytes.
        call: The function.
        *arguments: Its arguments.
        **named: Its keyword arguments.
    """
    if size <= INLINE_BYTES:
        return call(*arguments, **named)
    return await asyncio.get_running_loop().run_in_executor(executor, functools.partial(call, *arguments, **named))
