"""A batch as one call: who is answered, who gets an error, and how often the model is asked."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from millrace.features.spec import Domain, Range
from serve.errors import InferenceFailed, InvalidRequest, NonFiniteOutput, OutsideDomain
from serve.inference.inputs import Decoded
from serve.inference.joint_calls import JointCalls, Pending
from serve.protocols import tfs
from serve.servables.domains import DomainGuard, Domains
from serve.servables.servable import Servable
from serve.servables.statistics import Statistics
from tests.serve.models import INPUTS, POISON

if TYPE_CHECKING:
    from millrace.config.sections.serve import DomainMode

pytestmark = pytest.mark.tf


def run(servable: Servable, *requests: Sequence[Any], guard: DomainGuard | None = None) -> tuple[list[Any], Statistics]:
    """The results of JSON rows, or of tensors, in one batch."""
    signature, servable.statistics = servable.signatures["serving_default"], Statistics()

    async def made() -> list[Any]:
        loop, batch = asyncio.get_running_loop(), []
        for request in requests:
            if isinstance(request, np.ndarray):
                inputs = {"amount": request}
                batch.append(Pending(Decoded(inputs), None, len(request), loop.create_future(), ((),), 0, inputs))
            else:
                asked = tfs.PredictRequest(signature, request, is_row_form=True)
                batch.append(Pending(asked, None, len(request), loop.create_future(), ((),)))
        with ThreadPoolExecutor(2) as executor:
            return await JointCalls(servable, signature, executor, guard).run(batch)

    return asyncio.run(made()), servable.statistics


@pytest.fixture
def size(manager: Any) -> Servable:
    """A model of one input, `amount`."""
    return manager.get("size")


def test_each_gets_its_own_rows(size: Servable) -> None:
    expected = size.infer({"amount": np.array([1, 2, 3, 4, 5, 6], np.float32)})["prediction"]
    results, statistics = run(size, [1.0, 2.0], np.array([3, 4], np.float32), [{"amount": 5}], [6])
    assert [len(result["prediction"]) for result in results] == [2, 2, 1, 1]
    np.testing.assert_allclose(np.concatenate([r["prediction"] for r in results]), expected, atol=1e-6)
    assert (statistics.compute.count, statistics.batch_rows.total, statistics.queue.count) == (1, 6, 4)


def test_a_value_that_does_not_fit_is_told_to_its_own_request(size: Servable) -> None:
    results, statistics = run(size, [1], ["x"], [2], [None])
    assert [isinstance(result, InvalidRequest) for result in results] == [False, True, False, True]
    assert statistics.batch_rows.total == 2


def test_a_value_that_the_contract_forbids_is_told_to_its_own_request(size: Servable) -> None:
    feature = INPUTS[0].model_copy(update={"domain": Domain(max=10), "observed": Range(max=5)})
    mode: DomainMode = "enforce"
    counts: Counter[Any] = Counter()
    guard = DomainGuard(Domains([feature]), lambda: mode, counts)
    asked = ([1, 6], [20, 2, 30, 7], np.array([3, 40], np.float32), [4])
    expected = size.infer({"amount": np.array([1, 6, 4], np.float32)})["prediction"]
    results, statistics = run(size, *asked, guard=guard)
    assert [isinstance(result, OutsideDomain) for result in results] == [False, True, True, False]
    np.testing.assert_allclose(np.concatenate([results[0]["prediction"], results[3]["prediction"]]), expected)
    assert [(row, name) for row, name, _ in results[1].breaches] == [(0, "amount"), (2, "amount")]
    assert "row 1: input 'amount' is 40.0" in str(results[2])
    assert statistics.batch_rows.total == 3
    assert counts == {("amount", "contract"): 3, ("amount", "training"): 1}
    results, _ = run(size, [20], [99], guard=guard)
    assert all(isinstance(result, OutsideDomain) for result in results), "not one is left to ask for"
    mode = "count"
    results, _ = run(size, *asked, guard=guard)
    assert sum(len(result["prediction"]) for result in results) == 9


def test_an_answer_that_is_no_number_is_told_to_its_own_request(size: Servable) -> None:
    results, statistics = run(size, [1], [POISON], [2])
    assert [isinstance(result, NonFiniteOutput) for result in results] == [False, True, False]
    assert statistics.compute.count == 1


def test_a_bug_of_one_request_is_not_its_neighbours(size: Servable, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(self: tfs.PredictRequest) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(tfs.PredictRequest, "columns", lambda _: None)
    monkeypatch.setattr(tfs.PredictRequest, "inputs", bug)
    results, _ = run(size, [1], np.array([3], np.float32))
    assert isinstance(results[0], ZeroDivisionError)
    assert results[1]["prediction"].shape == (1,)


@pytest.mark.case("B25")
def test_after_a_failure_nothing_is_computed_for_clients_that_have_gone(
    size: Servable, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    answer = size.answer

    def fails_for_many(signature: Any, columns: Any, rows: Any) -> Any:
        calls.append(rows)
        if rows > 1:
            raise InferenceFailed("size", 1, "it hung")
        return answer(signature, columns, rows)

    monkeypatch.setattr(size, "answer", fails_for_many)

    async def made() -> list[Any]:
        loop = asyncio.get_running_loop()
        inputs = {"amount": np.ones(1, np.float32)}
        batch = [Pending(Decoded(inputs), None, 1, loop.create_future(), ((),), 0, inputs) for _ in range(3)]
        batch[1].answer.cancel()
        with ThreadPoolExecutor(2) as executor:
            return await JointCalls(size, size.signatures["serving_default"], executor).run(batch)

    results = asyncio.run(made())
    assert calls == [3, 1, 1]
    assert [isinstance(result, InferenceFailed) for result in results] == [False, True, False]
