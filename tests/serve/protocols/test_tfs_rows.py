"""Rows of a predict request, told apart."""

from typing import Any

import numpy as np
import pytest

from serve.errors import InvalidRequest
from serve.inference.rowwise import Reported, RowError
from serve.protocols.tfs import PredictRequest
from serve.protocols.tfs_rows import PredictRows, encode_reported
from serve.servables.signatures import PREDICT, SERVING_DEFAULT, Signature, TensorInfo
from tests.serve.models import ROW
from tests.serve.signatures import ours

OURS = ours()[SERVING_DEFAULT]
ONE = ours("amount")[SERVING_DEFAULT]
PIXELS = Signature(SERVING_DEFAULT, PREDICT, {"x": TensorInfo("x", "float32", (-1, 2))}, {})


def rows_of(value: Any, signature: Signature = OURS, *, is_row_form: bool = True) -> PredictRows:
    return PredictRows(PredictRequest(signature, value, is_row_form))


@pytest.mark.parametrize(
    ("row", "field", "rule"),
    [
        ({**ROW, "amount": "x"}, "amount", 'JSON Value: "x" Type: String is not of expected type: float'),
        ({**ROW, "amount": None}, "amount", "JSON Value: null"),
        ({**ROW, "amount": [1]}, "amount", "expected shape [], found [1]"),
        ({**ROW, "city": [["a"], 1]}, "city", "incorrect level"),
        ({n: v for n, v in ROW.items() if n != "city"}, "city", "is missing"),
        ({**ROW, "more": 1}, "more", "is not an input of the model"),
        (5, "", "expected an object of amount"),
    ],
)
def test_each_row_says_what_it_breaks(row: Any, field: str, rule: str) -> None:
    rows = rows_of([ROW, row])
    assert rows.count == 2
    assert rows.check(0) is None
    found = rows.check(1)
    assert found is not None
    assert found[0] == field
    assert rule in found[1]
    assert rows.only([0]).value == [ROW]


def test_bare_and_named_values_of_one_input() -> None:
    rows = rows_of([1, {"amount": 2}, None, "x"], ONE)
    assert [rows.check(row) is None for row in range(4)] == [True, True, False, False]
    assert rows.only([0, 1]).inputs()["amount"].tolist() == [1, 2]
    assert rows.only([0]).columns() == {"amount": [1]}


def test_columns_are_taken_apart() -> None:
    rows = rows_of({n: [v, v] for n, v in ROW.items()} | {"amount": [1, "x"]}, is_row_form=False)
    assert rows.check(0) is None
    assert (rows.check(1) or ("",))[0] == "amount"
    assert rows.only([0]).inputs()["amount"].tolist() == [1]
    assert rows_of([1, 2], ONE, is_row_form=False).count == 2


def test_rows_of_tensors() -> None:
    rows = rows_of([[1, 2], [3], [4, 5, 6], [7, "x"]], PIXELS)
    assert [rows.check(row) is None for row in range(4)] == [True, False, False, False]
    assert rows.only([0]).inputs()["x"].tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("value", "is_row_form"),
    [([], True), (None, True), ({"amount": 1}, False), ({"amount": [1], "city": []}, False), (5, False), ({}, False)],
)
def test_what_has_no_rows(value: Any, is_row_form: bool) -> None:
    with pytest.raises(InvalidRequest, match="expected"):
        rows_of(value, is_row_form=is_row_form)


def test_answers_of_full_length() -> None:
    reported = Reported(
        {"p": np.array([0.5, 0], np.float32), "c": np.array([b"a", b""], object)},
        np.array([True, False]),
        [RowError(1, "city", "is missing")],
    )
    errors = b'"row_errors":[{"row":1,"field":"city","rule":"is missing"}]}'
    assert encode_reported(reported, True) == b'{"predictions":[{"p":0.5,"c":"a"},null],' + errors
    assert encode_reported(reported, False) == b'{"outputs":{"p":[0.5,null],"c":["a",null]},' + errors
    del reported.outputs["c"]
    assert encode_reported(reported, True) == b'{"predictions":[0.5,null],' + errors
