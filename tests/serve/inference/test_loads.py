"""Loads that many clients wait for."""

import asyncio
import threading
import time

import pytest

from serve.errors import Overloaded
from serve.inference import loads as module
from serve.inference.loads import THREADS, Loads

pytestmark = pytest.mark.case("B25")


def test_clients_of_one_load_share_a_thread_and_others_do_not_wait() -> None:
    go, calls = threading.Event(), list[str]()

    def load(name: str) -> str:
        calls.append(name)
        assert go.wait(20)
        return name

    async def use() -> None:
        loads = Loads()
        waiting = [asyncio.create_task(loads.load("one", 1, load, "one")) for _ in range(50)]
        waiting += [asyncio.create_task(loads.load("one", n, load, f"one {n}")) for n in range(2, 6)]
        while not calls:
            await asyncio.sleep(0.001)
        assert await asyncio.wait_for(loads.read(len, "abc"), 10) == 3
        assert await asyncio.wait_for(loads.load("two", 1, len, "ab"), 10) == 2
        go.set()
        assert await asyncio.gather(*waiting) == ["one"] * 50 + [f"one {n}" for n in range(2, 6)]
        assert calls.count("one") == 1
        assert loads._running == {}
        loads.close()

    asyncio.run(use())


def test_a_client_that_leaves_ends_no_load_of_others() -> None:
    go = threading.Event()

    async def use() -> None:
        loads = Loads()
        first, second = (asyncio.create_task(loads.load("one", 1, go.wait, 20)) for _ in range(2))
        await asyncio.sleep(0.05)
        first.cancel()
        go.set()
        assert await second
        with pytest.raises(ZeroDivisionError):
            await loads.load("one", 1, divmod, 1, 0)
        assert loads._running == {}
        loads.close()

    asyncio.run(use())


def test_too_many_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 3)

    async def use() -> None:
        loads = Loads()
        waiting = [asyncio.create_task(loads.load("one", n, time.sleep, 0.05)) for n in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="3 model versions are being loaded"):
            await loads.load("one", 9, time.sleep, 0)
        await asyncio.gather(*waiting)
        await asyncio.sleep(0)
        assert (loads._running, loads._turns) == ({}, {})
        loads.close()

    asyncio.run(use())
    assert THREADS > 1
