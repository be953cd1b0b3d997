"""Good rows beside bad ones."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from serve.errors import InvalidRequest, NonFiniteOutput
from serve.inference.inputs import Decoded, InferenceInput
from serve.inference.rowwise import Reported, answer_good_rows, wants_report
from serve.servables.servable import Arrays
from serve.servables.signatures import PREDICT, Signature, TensorInfo

OUTPUTS = {"y": TensorInfo("y", "float32", (-1, 2)), "t": TensorInfo("t", "string", (-1,))}
BATCHED = Signature("s", PREDICT, {"x": TensorInfo("x", "float32", (-1,))}, OUTPUTS)
FIXED = Signature("s", PREDICT, {"x": TensorInfo("x", "float32", ())}, {})


class Rows:
    """Rows that are bad where they are odd."""

    def __init__(self, count: int, odd: bool = True) -> None:
        self.count, self.odd = count, odd

    def check(self, row: int) -> tuple[str, str] | None:
        return ("x", f"{row} is odd") if row % 2 and self.odd else None

    def only(self, rows: Sequence[int]) -> InferenceInput:
        return Decoded({"x": np.array(rows, np.float32)})


def answer(rows: Rows, infinite: Sequence[int] = ()) -> Reported:
    async def infer(question: InferenceInput) -> Arrays:
        x = question.inputs()["x"]
        lost = [number for number, value in enumerate(x.tolist()) if value in infinite]
        if lost:
            raise NonFiniteOutput("y", lost)
        return {"y": np.stack([x, -x], axis=1), "t": np.array([b"%d" % v for v in x.astype(int)], object)}

    return asyncio.run(answer_good_rows(rows, infer, OUTPUTS, asyncio.to_thread))


def test_the_answer_keeps_its_length() -> None:
    reported = answer(Rows(5))
    assert reported.outputs["y"].tolist() == [[0, 0], [0, 0], [2, -2], [0, 0], [4, -4]]
    assert reported.outputs["t"].tolist() == [b"0", b"", b"2", b"", b"4"]
    assert reported.row_ok.tolist() == [True, False, True, False, True]
    assert [(e.row, e.field, e.rule) for e in reported.errors] == [(1, "x", "1 is odd"), (3, "x", "3 is odd")]


def test_rows_without_a_finite_answer_are_bad_too() -> None:
    reported = answer(Rows(5), infinite=[2])
    assert reported.row_ok.tolist() == [True, False, False, False, True]
    assert [e.as_dict() for e in reported.errors][1] == {"row": 2, "field": "y", "rule": "the answer is not finite"}
    assert reported.outputs["y"][4].tolist() == [4, -4]


def test_not_one_good_row() -> None:
    reported = answer(Rows(3, odd=False), infinite=[0, 1, 2])
    assert not reported.row_ok.any()
    assert (reported.outputs["y"].shape, reported.outputs["t"].tolist()) == ((3, 2), [b"", b"", b""])
    assert len(reported.errors) == 3


@pytest.mark.case("S4")
def test_no_good_row_and_an_output_that_arrays_cannot_have() -> None:
    async def infer(question: InferenceInput) -> Arrays:
        raise NonFiniteOutput("y", [0, 1, 2])

    rows = Rows(3, odd=False)
    for dtype, size in (("bfloat16", 2), ("float16", 2)):
        outputs = {"y": TensorInfo("y", dtype, (-1,))}
        reported = asyncio.run(answer_good_rows(rows, infer, outputs, asyncio.to_thread))
        assert (reported.outputs["y"].shape, reported.outputs["y"].itemsize) == ((3,), size)
    with pytest.raises(InvalidRequest, match="arrays cannot have the dtype qint8"):
        asyncio.run(answer_good_rows(rows, infer, {"y": TensorInfo("y", "qint8", (-1,))}, asyncio.to_thread))


def test_who_asks_for_it() -> None:
    for parameters in (None, [], {}, {"on_row_error": "fail"}):
        assert not wants_report(parameters, BATCHED)
    assert wants_report({"on_row_error": "report"}, BATCHED)
    for wrong in ("skip", 1, None, True):
        odd: Any = {"on_row_error": wrong}
        with pytest.raises(InvalidRequest, match='on_row_error is "report" or "fail"'):
            wants_report(odd, BATCHED)
    with pytest.raises(InvalidRequest, match="needs a signature whose first dimension counts rows"):
        wants_report({"on_row_error": "report"}, FIXED)


def test_one_answer_for_all_rows_is_not_given_to_each() -> None:
    async def pooled(question: InferenceInput) -> Arrays:
        return {"y": question.inputs()["x"].mean(keepdims=True)}

    with pytest.raises(InvalidRequest, match="returns one row per row"):
        asyncio.run(answer_good_rows(Rows(5), pooled, OUTPUTS, asyncio.to_thread))
