"""A model's process, asked by the event loop: what is large goes by threads, and nobody gets another's answer."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from serve.isolation.pipe import LARGE_BYTES, pack
from serve.isolation.process import CALLS, Ended, ModelProcess, ProcessGroup
from serve.servables.signatures import SERVING_DEFAULT
from tests.serve.isolation.servables import BUG, CRASH, HANG, SLOW, tricky

MANY = LARGE_BYTES // 4
"""Values of float32 that travel by themselves."""
FEW = MANY // 2
"""Values that do not, though the answer to them does: it holds twelve bytes for each."""


@pytest.fixture
def process() -> Iterator[ModelProcess]:
    process = ModelProcess(tricky, 2.0)
    yield process
    process.end()


class CountedExecutor(ThreadPoolExecutor):
    """Notes whom it works for."""

    def __init__(self) -> None:
        super().__init__(2)
        self.called: list[str] = []

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
        self.called.append(call.__name__)
        return super().submit(call, *arguments, **named)


def ask_all(process: ModelProcess, *questions: Sequence[float]) -> tuple[list[Any], list[str]]:
    """Answers or errors, and what threads were needed for."""

    async def asked(executor: Executor) -> list[Any]:
        return await asyncio.gather(*(soon(process, executor, *q) for q in questions), return_exceptions=True)

    with CountedExecutor() as executor:
        return asyncio.run(asked(executor)), executor.called


def soon(process: ModelProcess, executor: Executor, *values: float) -> Awaitable[Any]:
    return process.call_async(pack((SERVING_DEFAULT, {"x": np.array(values, np.float32)}, len(values))), executor)


def test_small_questions_need_no_thread(process: ModelProcess) -> None:
    answers, called = ask_all(process, *([value] for value in range(CALLS)))
    assert [answer["y"].tolist() for answer in answers] == [[2 * value] for value in range(CALLS)]
    assert called == []


@pytest.mark.parametrize("count", [FEW, MANY])
def test_threads_wait_for_what_is_large(process: ModelProcess, count: int) -> None:
    answers, called = ask_all(process, [1.0] * count, [2.0])
    assert answers[0]["y"].tolist() == [2.0] * count
    assert answers[1]["y"].tolist() == [4.0]
    assert called == ["exchange"]


def test_more_questions_than_connections(process: ModelProcess) -> None:
    answers, called = ask_all(process, *([value] for value in range(100, 120)))
    assert [answer["y"].tolist() for answer in answers] == [[2 * value] for value in range(100, 120)]
    assert called == []


@pytest.mark.parametrize("count", [FEW, MANY])
def test_large_answers_need_few_threads(process: ModelProcess, count: int) -> None:
    """Threads that waited for a connection would be missing to those who have one."""
    answers, _ = ask_all(process, *([1.0] * count for _ in range(20)))
    assert [answer["y"].tolist() for answer in answers] == [[2.0] * count] * 20


def test_who_has_gone_leaves_no_answer_to_others(process: ModelProcess) -> None:
    async def asked(executor: Executor) -> list[Any]:
        for values in ([SLOW], [SLOW] * FEW) * CALLS:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(soon(process, executor, *values), 0.05)
        return await asyncio.gather(*(soon(process, executor, value) for value in range(100, 110)))

    with ThreadPoolExecutor(2) as executor:
        answers = asyncio.run(asked(executor))
    assert [answer["y"].tolist() for answer in answers] == [[2 * value] for value in range(100, 110)]


def test_errors(process: ModelProcess) -> None:
    answers, _ = ask_all(process, [BUG], [1])
    assert isinstance(answers[0], ZeroDivisionError)
    assert answers[1]["y"].tolist() == [2]


def test_an_end_is_told_to_all_who_wait(process: ModelProcess) -> None:
    answers, _ = ask_all(process, [HANG], [CRASH])
    assert [type(answer) for answer in answers] == [Ended, Ended]
    answers, _ = ask_all(process, [1], [1] * MANY)
    assert [type(answer) for answer in answers] == [Ended, Ended]


def test_an_answer_that_cannot_be_read_is_an_error(process: ModelProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr("serve.isolation.process.receive", unreadable)
        answers, _ = ask_all(process, [1], [1] * FEW)
    assert [type(answer) for answer in answers] == [ZeroDivisionError] * 2
    answers, _ = ask_all(process, *([value] for value in range(CALLS)))
    assert len(answers) == CALLS


def test_without_threads_nobody_waits_for_ever(process: ModelProcess) -> None:
    async def asked() -> list[Any]:
        executor = ThreadPoolExecutor(1)
        executor.shutdown()
        questions = ([1.0] * count for count in (MANY, FEW, 1))
        return await asyncio.gather(*(soon(process, executor, *q) for q in questions), return_exceptions=True)

    answers = asyncio.run(asyncio.wait_for(asked(), 20))
    assert [type(answer) for answer in answers] == [Ended, Ended, dict]


@pytest.mark.parametrize("count", [1, MANY])
def test_who_hangs_is_ended(process: ModelProcess, count: int) -> None:
    answers, _ = ask_all(process, [HANG] * count)
    assert [type(answer) for answer in answers] == [TimeoutError]
    answers, _ = ask_all(process, [1])
    assert [type(answer) for answer in answers] == [Ended]


@pytest.mark.case("S5")
def test_the_processes_of_a_group_end_together_and_none_starts_later() -> None:
    group = ProcessGroup()
    process = ModelProcess(tricky, 30, group=group)
    group.end()
    process._process.join(10)
    assert process._process.exitcode == -signal.SIGKILL
    with pytest.raises(Ended):
        ModelProcess(tricky, 30, group=group)
    process.end()


@pytest.mark.case("S5")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_group_does_not_end_the_start_of_a_process(number: signal.Signals) -> None:
    """Ctrl-C reaches every process of a terminal; the first start imports TensorFlow for seconds."""
    code = f"""
import os, signal, threading, time
from serve.isolation.process import ModelProcess
from tests.serve.isolation.servables import tricky
signal.signal(signal.{number.name}, lambda *_: print("seen", flush=True))
threading.Timer(0.5, os.killpg, (os.getpgid(0), signal.{number.name})).start()
made = []
thread = threading.Thread(target=lambda: made.append(ModelProcess(tricky, 30)))
thread.start()
while thread.is_alive():
    thread.join(0.1)
print(len(made), flush=True)
made[0].end()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60, start_new_session=True
    )
    assert done.stdout.split() == ["seen", "1"], done.stderr
    assert "KeyboardInterrupt" not in done.stderr
