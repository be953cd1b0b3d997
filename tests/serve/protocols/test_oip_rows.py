"""Rows of an infer request, told apart."""

import json
from typing import Any

import numpy as np
import pytest

from serve.errors import InvalidRequest
from serve.inference.rowwise import Reported
from serve.protocols import oip
from serve.protocols.oip_rows import InferRows, with_row_ok
from serve.values.tensors import encode_binary
from tests.serve.protocols.test_oip import tensor
from tests.serve.signatures import ours

SIGNATURES = ours("amount", "city")
CITY = {"name": "city", "shape": [3], "datatype": "BYTES", "data": ["a", 5, "c"]}


def rows_of(*tensors: dict[str, Any], blob: bytes = b"") -> InferRows:
    header = json.dumps({"inputs": tensors}).encode()
    return InferRows(oip.decode_infer(header + blob, len(header) if blob else None, SIGNATURES))


def test_values_in_json() -> None:
    rows = rows_of({"name": "amount", "shape": [3], "datatype": "FP32", "data": [1, 2, None]}, CITY)
    assert rows.count == 3
    assert [(rows.check(row) or ("",))[0] for row in range(3)] == ["", "city", "amount"]
    assert rows.only([0]).inputs()["city"].tolist() == [b"a"]


def test_values_in_bytes() -> None:
    blob = encode_binary(np.array([1, np.nan, 3], np.float32))
    amount = {"name": "amount", "shape": [3], "datatype": "FP32", "parameters": {"binary_data_size": len(blob)}}
    rows = rows_of(amount, {**CITY, "data": ["a", "b", "c"]}, blob=blob)
    assert [(rows.check(row) or ("",))[0] for row in range(3)] == ["", "amount", ""]
    assert rows.only([0, 2]).inputs()["amount"].tolist() == [1, 3]


def test_tensors_that_do_not_fit_fail_as_a_whole() -> None:
    with pytest.raises(InvalidRequest, match="different numbers of rows"):
        rows_of({"name": "amount", "shape": [1], "datatype": "FP32", "data": [1]}, CITY)
    with pytest.raises(InvalidRequest, match="missing 'amount'"):
        rows_of(CITY)


def test_rows_of_several_values() -> None:
    from tests.serve.protocols.test_oip import SIGNATURES as OTHERS

    header = json.dumps({"inputs": [tensor("x", data=[1, "x", 3, 4]), tensor("s")]}).encode()
    rows = InferRows(oip.decode_infer(header, None, OTHERS))
    assert [rows.check(row) is None for row in range(2)] == [False, True]
    assert rows.only([1]).inputs()["x"].tolist() == [[3, 4]]


def test_one_more_output_tells_good_rows() -> None:
    reported = Reported({"p": np.zeros(2)}, np.array([True, False]), [])
    assert with_row_ok(reported)["row_ok"].tolist() == [True, False]
