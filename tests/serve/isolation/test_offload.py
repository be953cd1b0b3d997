"""Who does what takes long."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from serve.isolation.offload import INLINE_BYTES, work


def where(*, fails: bool = False) -> str:
    if fails:
        raise ValueError("as it is")
    return threading.current_thread().name


def test_what_is_large_is_done_by_a_thread() -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="pool") as pool:
        names = [asyncio.run(work(pool, size, where)) for size in (0, INLINE_BYTES, INLINE_BYTES + 1)]
        assert names == ["MainThread", "MainThread", "pool_0"]
        for size in (0, INLINE_BYTES + 1):
            with pytest.raises(ValueError, match="as it is"):
                asyncio.run(work(pool, size, where, fails=True))
