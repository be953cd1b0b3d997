"""A model in a process of its own: what becomes of requests when it crashes, hangs, or cannot start."""

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from millrace.models.manifest import ModelDamaged, ModelVersion
from serve.errors import InferenceFailed, InferenceLate, InvalidRequest, ModelNotReady
from serve.garbage import forget_stack
from serve.inference.batching import Batcher, Limits
from serve.isolation import parent
from serve.isolation.parent import IsolatedServable
from serve.servables.saved_model import LoadedModel
from serve.servables.servable import Arrays
from tests.serve.isolation.servables import BUG, CRASH, HANG, SIGNATURE, crashing, tricky, unless
from tests.serve.servables.test_saved_model import rows

pytestmark = pytest.mark.tf


Ask = Callable[..., Arrays]


def ask(servable: IsolatedServable, *values: float) -> Arrays:
    return servable.infer({"x": np.array(values, np.float32)})


def ask_soon(servable: IsolatedServable, *values: float) -> Arrays:
    """By the event loop."""

    async def asked() -> Arrays:
        with ThreadPoolExecutor(1) as pool:
            return await servable.answer_soon(pool, SIGNATURE, {"x": np.array(values, np.float32)}, len(values))

    return asyncio.run(asked())


either = pytest.mark.parametrize("ask", [ask, ask_soon])


def ask_many(servable: IsolatedServable, values: Sequence[float]) -> list[Arrays]:
    """More at once than it has connections, each from a thread."""
    with ThreadPoolExecutor(6) as pool:
        return list(pool.map(partial(ask, servable), values))


def ask_many_soon(servable: IsolatedServable, values: Sequence[float]) -> list[Arrays]:
    """All at once, by one event loop."""

    async def asked() -> list[Arrays]:
        with ThreadPoolExecutor(1) as pool:
            inputs = [{"x": np.array([value], np.float32)} for value in values]
            return await asyncio.gather(*(servable.answer_soon(pool, SIGNATURE, one, 1) for one in inputs))

    return asyncio.run(asked())


def pid_of(servable: IsolatedServable) -> int:
    assert servable.pid
    return servable.pid


def wait_for_end(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(20)


@pytest.fixture
def servable() -> Iterator[IsolatedServable]:
    servable = IsolatedServable("tricky/1", tricky, 30)
    yield servable
    os.kill(pid_of(servable), signal.SIGKILL)


def test_answers_as_a_model_in_this_process(tiny: LoadedModel, tiny_version: ModelVersion) -> None:
    isolated = IsolatedServable("tiny/2", partial(LoadedModel.load, tiny_version), 30)
    assert isolated.pid != os.getpid()
    assert (isolated.origin, isolated.signatures, isolated.joins) == (tiny.origin, tiny.signatures, tiny.joins)
    for count in (1, 50, 600):
        for name, values in tiny.infer(rows(count)).items():
            np.testing.assert_allclose(isolated.infer(rows(count))[name], values, atol=1e-6)


@either
def test_errors_are_those_of_the_model(servable: IsolatedServable, ask: Ask) -> None:
    with pytest.raises(ZeroDivisionError, match="a bug"):
        ask(servable, BUG)
    with pytest.raises(InvalidRequest, match="no output 'z'"):
        servable.infer({"x": np.zeros(1, np.float32)}, ["z"])
    assert servable.restarts == 0


def test_a_damaged_version_is_refused_as_such(tiny_version: ModelVersion, tmp_path: Path) -> None:
    shutil.copytree(tiny_version.folder, tmp_path / "2")
    (tmp_path / "2" / "saved_model.pb").write_bytes(b"x")
    damaged = ModelVersion(str(tmp_path / "2"), tiny_version.manifest)
    with pytest.raises(ModelDamaged, match=r"saved_model.pb does not have the digest"):
        IsolatedServable("tiny/2", partial(LoadedModel.load, damaged), 30)


def test_one_that_crashes_the_loader_is_refused() -> None:
    with pytest.raises(ModelDamaged, match=r"tricky version 1: its process ended while it was loaded"):
        IsolatedServable("tricky/1", crashing, 30)


@pytest.mark.parametrize("ask_many", [ask_many, ask_many_soon])
def test_a_process_that_ended_is_started_again(
    servable: IsolatedServable, ask_many: Callable[..., list[Arrays]]
) -> None:
    first = pid_of(servable)
    os.kill(first, signal.SIGKILL)
    answers = ask_many(servable, range(100, 140))
    assert [answer["y"].tolist() for answer in answers] == [[2.0 * value] for value in range(100, 140)]
    assert {pid for answer in answers for pid in answer["pid"]} == {pid_of(servable)} != {first}
    assert servable.restarts == 1


def test_only_the_request_that_ends_processes_fails(servable: IsolatedServable) -> None:
    async def ask_all(values: list[float]) -> list[Any]:
        with ThreadPoolExecutor(2) as executor:
            batcher = Batcher(servable, SIGNATURE, executor, Limits(64, 100))
            asked = (batcher.infer({"x": np.array([value], np.float32)}) for value in values)
            return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(ask_all([1, 2, CRASH, 3, 4]))
    assert isinstance(answers.pop(2), InferenceFailed)
    assert [answer["y"].tolist() for answer in answers] == [[2], [4], [6], [8]]


@either
def test_a_call_that_hangs_is_ended(ask: Ask) -> None:
    servable = IsolatedServable("tricky/1", tricky, 2.0)
    first = pid_of(servable)
    with ThreadPoolExecutor(2) as pool:
        hanging = pool.submit(ask, servable, HANG)
        with pytest.raises(InferenceLate, match="within 2 s"):
            hanging.result(20)
    wait_for_end(first)
    assert not psutil.pid_exists(first)
    assert ask(servable, 2)["pid"].tolist() == [pid_of(servable)] != [first]


@either
def test_a_process_that_stands_still_is_ended(ask: Ask) -> None:
    servable = IsolatedServable("tricky/1", tricky, 2.0)
    for values in ([1.0], [1.0] * 10_000_000):  # more than the pipe holds: it is not even read
        process = psutil.Process(pid_of(servable))
        process.suspend()
        while process.status() != psutil.STATUS_STOPPED:  # not all of its threads stop at once
            time.sleep(0.01)
        with pytest.raises(InferenceLate):
            ask(servable, *values)
        assert ask(servable, 2)["y"].tolist() == [4]


@either
def test_one_that_cannot_start_again_is_not_tried_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    file = tmp_path / "file"
    servable = IsolatedServable("tricky/1", partial(unless, str(file)), 30)
    os.kill(pid_of(servable), signal.SIGKILL)
    file.touch()
    with pytest.raises(ModelNotReady, match="a file is there"):
        ask(servable, 1)
    file.unlink()
    with pytest.raises(ModelNotReady, match="a file is there"):
        ask(servable, 1)
    monkeypatch.setattr(parent, "RETRY_AFTER_S", 0.0)
    assert ask(servable, 1)["y"].tolist() == [2]


@either
def test_it_ends_when_nobody_holds_it(ask: Ask) -> None:
    servable = IsolatedServable("tricky/1", tricky, 30)
    first = pid_of(servable)
    os.kill(first, signal.SIGKILL)
    ask(servable, 1)
    second = pid_of(servable)
    open_before = len(os.listdir("/proc/self/fd"))
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ZeroDivisionError) as error:
            ask(servable, BUG)
        forget_stack(error.value)
        os.kill(second, signal.SIGKILL)
        ask(servable, 1)
        third = pid_of(servable)
        del servable, error  # not even a crash leaves a ring behind that only the collector would find
        wait_for_end(third)
    finally:
        gc.enable()
    assert not psutil.pid_exists(third)
    assert len(os.listdir("/proc/self/fd")) < open_before


def test_whoever_lets_go_of_it_does_not_wait_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be the event loop, and the memory of a model takes tens of milliseconds to give back."""
    servable = IsolatedServable("tricky/1", tricky, 30)
    process = pid_of(servable)
    waited: list[Any] = []
    monkeypatch.setattr(ForkServerProcess, "join", lambda *arguments: waited.append(arguments))
    del servable
    gc.collect()
    wait_for_end(process)
    assert not psutil.pid_exists(process)
    assert waited == []


SERVER = """
import os, signal
from serve.isolation.parent import IsolatedServable
from tests.serve.isolation.servables import tricky
if __name__ == "__main__":
    servable = IsolatedServable("tricky/1", tricky, 30)
    print(servable.pid, flush=True)
    signal.pause()
"""


@pytest.mark.parametrize("end", [subprocess.Popen.kill, subprocess.Popen.terminate])
def test_it_ends_with_its_server(end: Callable[[Any], None], tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout
        pid = int(server.stdout.readline())
        children = psutil.Process(server.pid).children(recursive=True)
        assert pid in {child.pid for child in children}
        end(server)
        server.wait(20)
    gone, left = psutil.wait_procs(children, timeout=20)
    assert left == []
    assert len(gone) == len(children)


@pytest.mark.case("S5")
def test_one_that_is_never_loaded_is_ended() -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with pytest.raises(ModelDamaged, match=r"it was not loaded within 0\.5 s") as caught:
        IsolatedServable("tricky/1", partial(time.sleep, 600), 30, load_within_s=0.5)
    assert "serve.load_deadline_s" in caught.value.hint
    left = {child.pid for child in psutil.Process().children(recursive=True) if child.name() == "model"} - before
    assert not left
    with contextlib.closing(IsolatedServable("tricky/1", tricky, 30, load_within_s=30)) as loaded:
        assert ask(loaded, 1)["y"].tolist() == [2]


@pytest.mark.case("B25")
def test_all_who_wait_for_a_restart_take_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads are shared by all models."""
    with contextlib.closing(IsolatedServable("tricky/1", tricky, 30)) as servable:
        plain, called, goes_on = servable._restart, list[object](), threading.Event()

        def slow(dead: Any) -> Any:
            called.append(dead)
            assert goes_on.wait(60)
            return plain(dead)

        monkeypatch.setattr(servable, "_restart", slow)

        async def asked() -> list[Arrays]:
            columns = {"x": np.array([1], np.float32)}
            with ThreadPoolExecutor(2) as pool:
                os.kill(pid_of(servable), signal.SIGKILL)
                waiting = [asyncio.ensure_future(servable.answer_soon(pool, SIGNATURE, columns, 1)) for _ in range(20)]
                try:
                    while not called:
                        await asyncio.sleep(0.01)
                    assert await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(pool, int, "7"), 10) == 7
                finally:
                    goes_on.set()
                return await asyncio.gather(*waiting)

        assert [answered["y"].tolist() for answered in asyncio.run(asked())] == [[2]] * 20
        assert servable.restarts == 1
        assert len(called) == 1
