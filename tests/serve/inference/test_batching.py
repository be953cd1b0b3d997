"""Which requests share a call, and what becomes of their neighbours."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve.errors import InferenceFailed, InferenceLate, InvalidRequest, NonFiniteOutput, Overloaded
from serve.inference.batching import Batcher, Limits
from serve.inference.deadlines import Deadline
from serve.inference.inputs import Decoded
from serve.protocols import tfs
from serve.servables.manager import ServableManager
from serve.servables.saved_model import LoadedModel
from serve.servables.servable import Arrays, Servable
from tests.serve.models import POISON
from tests.serve.servables.test_saved_model import rows

UNLUCKY = 13.0

pytestmark = pytest.mark.tf


@pytest.fixture
def executor() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def size(manager: ServableManager) -> Servable:
    """A model of one input, `amount`."""
    return manager.get("size")


def batcher_of(servable: Servable, executor: Executor, max_rows: int = 64, max_queued: int = 10_000) -> Batcher:
    signature = servable.signatures["serving_default"]
    return Batcher(servable, signature, executor, Limits(max_rows, max_queued))


def amounts(*values: float) -> Arrays:
    return {"amount": np.array(values, np.float32)}


class Held:
    """Stops the first call of a servable, and notes how many rows each had."""

    def __init__(self, servable: Servable, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        self.calls: list[int] = []
        answer = servable.answer

        def held(asked: Any, columns: Any, rows: Any) -> Any:
            self.calls.append(rows)
            if len(self.calls) == 1:
                assert self.go.wait(20)
            return answer(asked, columns, rows)

        monkeypatch.setattr(servable, "answer", held)


async def ask_behind_a_held_call(batcher: Batcher, held: Held, requests: Sequence[Any]) -> list[Any]:
    """One request that is being answered, and others that arrive meanwhile: tensors, or JSON rows."""

    def ask(request: Any) -> Any:
        if isinstance(request, dict):
            return batcher.infer(request)
        asked = tfs.PredictRequest(batcher.signature, request, is_row_form=True)
        return batcher.infer_joined(asked, 1)

    tasks = [asyncio.create_task(ask(requests[0]))]
    while not held.calls:
        await asyncio.sleep(0.001)
    tasks += [asyncio.create_task(ask(request)) for request in requests[1:]]
    await asyncio.sleep(0.01)
    held.go.set()
    return list(await asyncio.gather(*tasks, return_exceptions=True))


def test_what_arrives_while_a_call_runs_forms_the_next(
    size: Servable, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [size.infer(amounts(n))["prediction"] for n in range(20)]
    held = Held(size, monkeypatch)
    batcher = batcher_of(size, executor)
    answers = asyncio.run(ask_behind_a_held_call(batcher, held, [amounts(n) for n in range(20)]))
    assert held.calls == [1, 19]
    for answer, expected in zip(answers, alone, strict=True):
        np.testing.assert_allclose(answer["prediction"], expected, atol=1e-6)
    assert batcher.queued == 0


def test_batches_are_no_larger_than_allowed_and_keep_the_order(
    size: Servable, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(size, monkeypatch)
    requests = [amounts(*range(n)) for n in (1, 3, 3, 3, 9, 1, 1)]
    answers = asyncio.run(ask_behind_a_held_call(batcher_of(size, executor, max_rows=6), held, requests))
    assert held.calls == [1, 6, 3, 9, 2]
    assert [len(answer["prediction"]) for answer in answers] == [1, 3, 3, 3, 9, 1, 1]


def test_a_bad_answer_fails_its_own_request_alone(
    size: Servable, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(size, monkeypatch)
    requests = [amounts(1), amounts(2, POISON), amounts(3)]
    answers = asyncio.run(ask_behind_a_held_call(batcher_of(size, executor), held, requests))
    assert held.calls == [1, 3]
    assert isinstance(answers[1], NonFiniteOutput)
    assert answers[1].rows == (1,)
    assert [len(answers[n]["prediction"]) for n in (0, 2)] == [1, 1]


def test_members_of_a_failed_batch_are_asked_again_alone(
    size: Servable, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = size.answer

    def poisoned(asked: Any, columns: Any, rows: Any) -> Any:
        if (columns["amount"] == UNLUCKY).any():
            raise InferenceFailed("size", 1, "unlucky")
        return answer(asked, columns, rows)

    monkeypatch.setattr(size, "answer", poisoned)
    held = Held(size, monkeypatch)
    requests = [amounts(n) for n in (1, 12, UNLUCKY, 14)]
    answers = asyncio.run(ask_behind_a_held_call(batcher_of(size, executor), held, requests))
    assert [isinstance(found, InferenceFailed) for found in answers] == [False, False, True, False]
    assert held.calls == [1, 3, 1, 1, 1]


def test_what_does_not_fit_never_queues(size: Servable, executor: Executor) -> None:
    batcher = batcher_of(size, executor)
    for wrong in ({"amount": np.zeros(1)}, {"amount": np.zeros((1, 1), np.float32)}, {}):
        with pytest.raises(InvalidRequest):
            asyncio.run(batcher.infer(wrong))
    with pytest.raises(InvalidRequest, match="no output 'x'"):
        asyncio.run(batcher.infer(amounts(1), ["x"]))
    assert batcher.queued == 0


def test_a_full_queue_refuses_at_once(size: Servable, executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(size, monkeypatch)
    batcher = batcher_of(size, executor, max_queued=5)
    requests = [amounts(1), amounts(1, 2), amounts(1, 2), amounts(1), amounts(2)]
    answers = asyncio.run(ask_behind_a_held_call(batcher, held, requests))
    assert [isinstance(found, Overloaded) for found in answers] == [False, False, False, False, True]
    assert batcher.queued == 0
    assert len(asyncio.run(batcher.infer(amounts(1)))["prediction"]) == 1


def test_one_huge_request_leaves_room_for_others(
    size: Servable, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(size, monkeypatch)
    batcher = batcher_of(size, executor, max_queued=5)
    requests = [amounts(1), amounts(*range(9)), amounts(1), amounts(*range(9)), amounts(1, 2), amounts(1)]
    answers = asyncio.run(ask_behind_a_held_call(batcher, held, requests))
    assert [isinstance(found, Overloaded) for found in answers] == [False, False, False, True, False, True]
    assert batcher.queued == 0


def test_who_has_gone_is_not_answered(size: Servable, executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(size, monkeypatch)
    batcher = batcher_of(size, executor)

    async def use() -> None:
        first = asyncio.create_task(batcher.infer(amounts(1)))
        while not held.calls:
            await asyncio.sleep(0.001)
        gone = asyncio.create_task(batcher.infer(amounts(1, 2, 3)))
        stays = asyncio.create_task(batcher.infer(amounts(4)))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        held.go.set()
        assert len((await first)["prediction"]) == len((await stays)["prediction"]) == 1

    asyncio.run(use())
    assert held.calls == [1, 1]
    assert batcher.queued == 0


def test_who_stops_waiting_is_told_and_not_computed_for(
    size: Servable, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(size, monkeypatch)
    batcher = batcher_of(size, executor)

    async def use() -> None:
        loop = asyncio.get_running_loop()
        first = asyncio.create_task(batcher.infer(amounts(1)))
        while not held.calls:
            await asyncio.sleep(0.001)
        patient = asyncio.create_task(batcher.infer(amounts(4), deadline=Deadline(loop.time() + 60, 60)))
        asked = tfs.PredictRequest(batcher.signature, [5, 6], is_row_form=True)
        for late in (
            batcher.infer(amounts(2, 3), None, Deadline(loop.time() + 0.05, 0.05)),
            batcher.infer_joined(asked, 1, None, Deadline(loop.time() + 0.05, 0.05)),
        ):
            with pytest.raises(InferenceLate, match=r"within 0\.05 s"):
                await late
        with pytest.raises(InferenceLate):
            await batcher.infer(amounts(2, 3), None, Deadline(loop.time(), 1))
        held.go.set()
        assert len((await first)["prediction"]) == len((await patient)["prediction"]) == 1

    asyncio.run(use())
    assert held.calls == [1, 1]


def test_only_equal_inner_shapes_share_a_call(
    foreign: Path, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    servable = LoadedModel.load_foreign("half", 1, foreign, joins=True)
    held = Held(servable, monkeypatch)
    batcher = Batcher(servable, servable.signatures["double"], executor, Limits(64, 64))
    widths = [1, 2, 3, 2, 3, 2]
    requests = [{"x": np.full((2, width), width, np.float32)} for width in widths]
    answers = asyncio.run(ask_behind_a_held_call(batcher, held, requests))
    assert held.calls == [2, 6, 4]
    assert [answer["y"].tolist() for answer in answers] == [[[2 * width] * width] * 2 for width in widths]


def test_what_counts_no_rows_is_answered_alone(foreign: Path, executor: Executor) -> None:
    servable = LoadedModel.load_foreign("half", 1, foreign, joins=True)
    signature = servable.signatures["serving_default"]
    batcher = Batcher(servable, signature, executor, Limits(64, 64))
    assert asyncio.run(batcher.infer({"x": np.float32(2)}))["y"] == 3


def test_a_model_whose_answers_are_not_rows_is_asked_alone(
    foreign: Path, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    servable = LoadedModel.load_foreign("half", 1, foreign, joins=True)
    answer = servable.answer

    def summed(asked: Any, columns: Any, rows: Any) -> Any:
        return {"y": answer(asked, columns, rows)["y"].sum(axis=0, keepdims=True)}

    monkeypatch.setattr(servable, "answer", summed)
    held = Held(servable, monkeypatch)
    batcher = Batcher(servable, servable.signatures["double"], executor, Limits(64, 64))
    requests = [{"x": np.full((2, 1), n, np.float32)} for n in (1, 2, 3)]
    answers = asyncio.run(ask_behind_a_held_call(batcher, held, requests))
    assert [answer["y"].tolist() for answer in answers] == [[[4]], [[8]], [[12]]]


@pytest.mark.case("S1")
@pytest.mark.parametrize("as_json", [False, True])
def test_after_an_answer_that_is_not_rows_no_request_shares_a_call(
    uneven: Path, executor: Executor, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    """Otherwise the rows of two requests could be as many as their outputs by chance."""
    servable = LoadedModel.load_foreign("uneven", 1, uneven, joins=True)
    held = Held(servable, monkeypatch)
    batcher = Batcher(servable, servable.signatures["kept"], executor, Limits(64, 64))
    sent = [[-1.0, 1.0], [2.0, 3.0], [4.0, -4.0], [5.0, 6.0]]
    requests: list[Any] = sent if as_json else [{"x": np.array(x, np.float32)} for x in sent]
    answers = asyncio.run(ask_behind_a_held_call(batcher, held, requests))
    assert held.calls == [2, 2, 2, 2]
    assert [answer["kept"].tolist() for answer in answers] == [[1], [2, 3], [4], [5, 6]]
    more = asyncio.run(batcher.infer({"x": np.array([-7, -8], np.float32)}))
    assert more["kept"].tolist() == []
    assert held.calls[-1] is None


def test_outputs_by_name(tiny: Servable, executor: Executor) -> None:
    answered = asyncio.run(batcher_of(tiny, executor).infer(rows(2), ["class"]))
    assert list(answered) == ["class"]


def test_a_bug_reaches_every_member(size: Servable, executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(size, "answer", bug)
    batcher = batcher_of(size, executor)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="a bug"):
            asyncio.run(batcher.infer(amounts(1)))
    assert batcher.queued == 0


def test_json_and_tensors_are_answered_together(
    size: Servable, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = size.infer(amounts(2, 3, 4, 5, 6))["prediction"]
    held = Held(size, monkeypatch)
    requests = [amounts(1), [2, 3], amounts(4), [{"amount": 5}, {"amount": 6}]]
    answers = asyncio.run(ask_behind_a_held_call(batcher_of(size, executor), held, requests))
    assert held.calls == [1, 5]
    found = np.concatenate([answer["prediction"] for answer in answers[1:]])
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("bad", [1, 3, 8])
def test_values_that_do_not_fit_fail_their_own_request_alone(
    size: Servable, executor: Executor, monkeypatch: pytest.MonkeyPatch, bad: int
) -> None:
    expected = size.infer(amounts(*range(10)))["prediction"]
    held = Held(size, monkeypatch)
    batcher = batcher_of(size, executor)
    wrong = [[0, "x"], [{"amuont": 1}], [None], [[1]], [True], [{}], [1e39], []][:bad]
    good = [[n] for n in range(10)]
    mixed = [good[0], *wrong[:2], *good[1:5], *wrong[2:], *good[5:]]
    answers = asyncio.run(ask_behind_a_held_call(batcher, held, [amounts(1), *mixed]))[1:]
    failed = [answer for answer in answers if isinstance(answer, InvalidRequest)]
    assert len(failed) == bad
    assert "element: 1 of 'instances' list" in str(failed[0])
    found = [answer["prediction"] for answer in answers if not isinstance(answer, InvalidRequest)]
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-6)
    assert held.calls == [1, 10]
    assert batcher.queued == 0


def test_a_batch_of_nothing_but_bad_requests_asks_nobody(
    size: Servable, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(size, monkeypatch)
    answers = asyncio.run(ask_behind_a_held_call(batcher_of(size, executor), held, [amounts(1), ["x"], [None]]))
    assert [isinstance(answer, InvalidRequest) for answer in answers] == [False, True, True]
    assert held.calls == [1]


def test_who_waits_too_long_is_told_and_the_others_are_answered(
    size: Servable, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask_all() -> list[Any]:
        held = Held(size, monkeypatch)
        batcher = Batcher(size, size.signatures["serving_default"], executor, Limits(64, 100, 2.0))
        late = [asyncio.create_task(batcher.infer(amounts(value))) for value in (1, 2)]
        await asyncio.sleep(1.5)
        punctual = asyncio.create_task(batcher.infer(amounts(3)))
        await asyncio.wait(late)
        assert not punctual.done()
        held.go.set()
        return await asyncio.gather(*late, punctual, return_exceptions=True)

    *late, punctual = asyncio.run(ask_all())
    assert [str(error) for error in late] == ["model 'size' did not answer within 2 s"] * 2
    assert punctual["prediction"].shape == (1,)


def test_what_is_decoded_has_no_values_left() -> None:
    decoded = Decoded({"x": np.zeros(2)})
    assert decoded.columns() is None
    assert list(decoded.inputs()) == ["x"]
