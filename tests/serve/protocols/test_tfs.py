"""TF Serving's predict requests and responses, without a server."""

import json
from typing import Any

import numpy as np
import pytest

from serve.errors import InvalidRequest
from serve.protocols import tfs
from tests.serve.models import INPUTS, ROW, spec_of

SPEC = spec_of("binary")
ONE = spec_of("regression", INPUTS[:1])
TEXT = spec_of("regression", INPUTS[7:8])
COLUMNS = {name: [value, value] for name, value in ROW.items()}


def decode(body: Any, spec: Any = SPEC) -> tfs.PredictRequest:
    return tfs.decode_predict(json.dumps(body).encode(), spec)


def refuse(body: Any, spec: Any = SPEC) -> str:
    with pytest.raises(InvalidRequest) as caught:
        decode(body, spec)
    return str(caught.value)


def test_rows_and_columns_give_the_same_arrays() -> None:
    rows, columns = decode({"instances": [ROW, ROW]}), decode({"inputs": COLUMNS})
    assert (rows.rows, rows.is_row_form, columns.rows, columns.is_row_form) == (2, True, 2, False)
    assert rows.inputs.keys() == columns.inputs.keys() == ROW.keys()
    for feature in INPUTS:
        np.testing.assert_array_equal(rows.inputs[feature.name], columns.inputs[feature.name])


def test_a_model_of_one_input_takes_bare_values() -> None:
    for body in ({"instances": [1, 2]}, {"inputs": [1, 2]}, {"instances": [{"amount": 1}, {"amount": 2}]}):
        assert decode(body, ONE).inputs["amount"].tolist() == [1, 2]
    assert decode({"instances": [{"b64": "QQ=="}, "b"]}, TEXT).inputs["city"].tolist() == [b"A", b"b"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "expected an object with 'instances' or 'inputs', found a list of 0"),
        ({}, "expected either 'instances' or 'inputs', found neither"),
        ({"instances": [ROW], "inputs": COLUMNS}, "found both"),
        ({"signature_name": "other", "instances": [ROW]}, 'signature_name: expected "serving_default"'),
        ({"signature_name": None, "instances": [ROW]}, "signature_name"),
        ({"signature_name": ["serving_default"], "instances": [ROW]}, "signature_name"),
        ({"instances": []}, "instances: expected a list of at least one row, found an empty list"),
        ({"instances": {}}, "instances: expected a list"),
        ({"instances": None}, "found null"),
        ({"instances": [1]}, "instances[0]: expected an object with the fields amount, weight"),
        ({"instances": [ROW, [ROW]]}, "instances[1]: expected an object"),
        ({"instances": [ROW, {}]}, "instances[1]: 9 fields are missing: 'amount' (a number (float32)), 'weight'"),
        (
            {"instances": [{n: v for n, v in ROW.items() if n != "amount"}]},
            "field 'amount' is missing: expected a number",
        ),
        ({"instances": [{**ROW, "extra": 1}]}, 'instances[0]: the model has no field "extra"; expected one of'),
        (
            {"instances": [ROW, {**ROW, "amount": "1"}]},
            "instances[1]: field 'amount': expected a number (float32), found",
        ),
        ({"instances": [{**ROW, "amount": [1]}]}, "found a list of 1"),
        ({"inputs": []}, "inputs: expected an object with the fields"),
        ({"inputs": {}}, "inputs: 9 fields are missing: 'amount'"),
        ({"inputs": {**COLUMNS, "x": [1, 2]}}, 'inputs: the model has no field "x"'),
        ({"inputs": {**COLUMNS, "amount": 1}}, "inputs: field 'amount': expected a list of values, found the number 1"),
        ({"inputs": {**COLUMNS, "amount": [1]}}, "found 2 in 'weight' and 1 in 'amount'"),
        ({"inputs": {name: [] for name in ROW}}, "at least one value"),
        (
            {"inputs": {**COLUMNS, "flag": [True, 1]}},
            "field 'flag', value 1: expected true or false, found the number 1",
        ),
    ],
)
def test_refuses(body: Any, said: str) -> None:
    assert said in refuse(body)


def test_a_misspelt_field_is_answered_with_the_right_one() -> None:
    row = {("amuont" if name == "amount" else name): value for name, value in ROW.items()}
    assert "no field \"amuont\"; did you mean 'amount'?" in refuse({"instances": [row]})


def test_mixed_bare_and_named_values_are_refused() -> None:
    assert "instances[1]: expected a plain value" in refuse({"instances": [1, {"amount": 1}]}, ONE)
    assert "instances[1]: expected an object" in refuse({"instances": [{"amount": 1}, 1]}, ONE)


def test_every_wrong_field_is_named_in_one_answer() -> None:
    said = refuse({"instances": [{**ROW, "amount": None, "flag": 0, "city": 5}]})
    assert all(f"instances[0]: field '{name}'" in said for name in ("amount", "flag", "city"))


def test_messages_do_not_grow_with_the_request() -> None:
    assert len(refuse({"instances": [{**ROW, **{f"x{n}" * 50: 1 for n in range(10_000)}}]})) < 4_000
    assert len(refuse({"instances": [{**ROW, "city": 5, "amount": "x" * 100_000}]})) < 1_000


def test_unknown_keys_beside_the_rows_are_ignored() -> None:
    assert decode({"instances": [ROW], "comment": "hi"}).rows == 1


@pytest.mark.parametrize(
    ("outputs", "is_row_form", "body"),
    [
        ({"p": np.array([0.1, 1], np.float32)}, True, {"predictions": [0.1, 1.0]}),
        ({"p": np.array([0.1, 1], np.float32)}, False, {"outputs": [0.1, 1.0]}),
        (
            {"p": np.array([[0.5, 0.25]], np.float32), "class": np.array([b"low"], object)},
            True,
            {"predictions": [{"p": [0.5, 0.25], "class": "low"}]},
        ),
        (
            {"p": np.array([0.5], np.float32), "class": np.array([2**53 + 1])},
            False,
            {"outputs": {"p": [0.5], "class": [2**53 + 1]}},
        ),
    ],
)
def test_writes_responses(outputs: dict[str, Any], is_row_form: bool, body: Any) -> None:
    assert json.loads(tfs.encode_predict(outputs, is_row_form=is_row_form)) == body


def test_captured_bytes() -> None:
    outputs = {"probability": np.array([0.3, 2 / 3], np.float32), "class": np.array([0, 1])}
    assert tfs.encode_predict(outputs, is_row_form=True) == (
        b'{"predictions":[{"probability":0.3,"class":0},{"probability":0.6666667,"class":1}]}'
    )
    assert tfs.encode_status("m", ready=True, versions=[(1, "START", ""), (2, "END", "damaged")]) == (
        b'{"name":"m","ready":true,"model_version_status":['
        b'{"version":"2","state":"END","status":{"error_code":"UNAVAILABLE","error_message":"damaged"}},'
        b'{"version":"1","state":"START","status":{"error_code":"OK","error_message":""}}]}'
    )


def test_the_example_row_is_one_that_the_model_takes() -> None:
    assert decode({"instances": [tfs.example_row(SPEC)]}).rows == 1
