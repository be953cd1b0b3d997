"""What takes long is done by threads, so that the event loop stays free; what is small is done at once."""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")

INLINE_BYTES: Final = 65_536
"""Up to this size values are worked on by the event loop: handing them to a thread would take longer."""
PARSED: Final = 4
"""Bodies whose JSON is parsed already may be so many times as large together; see docs/adr/0018."""


async def work(executor: Executor, size: int, call: Callable[_P, _R], *arguments: _P.args, **named: _P.kwargs) -> _R:
    """Call a function, in a thread if it has much to do.

    Args:
        executor: Has the threads.
        size: Bytes that it has to do with.
        call: The function.
        *arguments: Its own.
        **named: Its own.
    """
    if size <= INLINE_BYTES:
        return call(*arguments, **named)
    return await asyncio.get_running_loop().run_in_executor(executor, functools.partial(call, *arguments, **named))
