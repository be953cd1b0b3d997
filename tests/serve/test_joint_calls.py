"""A batch as one call: who is answered, who gets an error, and how often the model is asked."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from serve.errors import InvalidRequest, NonFiniteOutput
from serve.joint_calls import JointCalls, Pending
from serve.protocols import tfs
from serve.questions import Decoded
from serve.servable import Servable
from serve.statistics import Statistics
from tests.serve.models import POISON

pytestmark = pytest.mark.tf


def run(servable: Servable, *requests: Sequence[Any]) -> tuple[list[Any], Statistics]:
    """The results of JSON rows, or of tensors, in one batch."""
    signature, statistics = servable.signatures["serving_default"], Statistics()

    async def made() -> list[Any]:
        loop, batch = asyncio.get_running_loop(), []
        for request in requests:
            if isinstance(request, np.ndarray):
                inputs = {"amount": request}
                batch.append(Pending(Decoded(inputs), None, len(request), loop.create_future(), ((),), inputs))
            else:
                asked = tfs.PredictRequest(signature, request, is_row_form=True)
                batch.append(Pending(asked, None, len(request), loop.create_future(), ((),)))
        return JointCalls(servable, signature, statistics).run(batch)

    return asyncio.run(made()), statistics


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
