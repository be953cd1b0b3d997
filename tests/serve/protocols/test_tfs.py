"""TensorFlow Serving's predict requests and responses, without a server.

Cases that stand in its ``util/json_tensor_test.cc`` name the test there.
"""

import json
import math
from typing import Any

import numpy as np
import pytest

from serve.errors import InvalidRequest, Unimplemented, UnknownSignature
from serve.protocols import tfs
from serve.servables.signatures import Signature
from serve.values.arrays import decode_values
from tests.serve.models import INPUTS, ROW
from tests.serve.signatures import ours, signature

COLUMNS = {name: [value, value] for name, value in ROW.items()}
NAN, INF = math.nan, math.inf
LARGEST = np.finfo(np.float64).max
B64 = {"b64": "aGVsbG8="}, {"b64": "d29ybGQ="}


def decode(body: Any, signatures: dict[str, Signature] | None = None) -> tfs.PredictRequest:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return tfs.decode_predict(data, signatures or ours())


def tensors_of(body: Any, signatures: dict[str, Signature] | None = None) -> dict[str, Any]:
    """What a request asks; the fast way must come to the same."""
    asked = decode(body, signatures)
    tensors = asked.inputs()
    columns = asked.columns() if asked.signature.is_tabular else None
    for name, values in (columns or {}).items():
        np.testing.assert_array_equal(decode_values(values, asked.signature.inputs[name]), tensors[name])
    return tensors


def refuse(body: Any, signatures: dict[str, Signature] | None = None) -> str:
    with pytest.raises(InvalidRequest) as caught:
        tensors_of(body, signatures)
    return str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "body", "expected"),
    [
        # SingleUnnamedTensor
        ({"x": "int32"}, {"instances": [[1, 2], [3, 4], [5, 6]]}, {"x": [[1, 2], [3, 4], [5, 6]]}),
        # MixedInputForFloatTensor
        ({"x": "float32"}, {"instances": [1, 2.0, 3, 4, 5.003, 0.007, 0.0]}, {"x": [1, 2, 3, 4, 5.003, 0.007, 0]}),
        # MixedInputForDoubleTensor
        ({"x": "float64"}, {"instances": [1.0, 2, 3, 4, 0.662, 0, 0.0]}, {"x": [1, 2, 3, 4, 0.662, 0, 0]}),
        # SingleUnnamedTensorBase64Scalars
        ({"x": "string"}, {"instances": list(B64)}, {"x": [b"hello", b"world"]}),
        # SingleUnnamedTensorBase64Lists
        ({"x": "string"}, {"instances": [[B64[0]], [B64[1]]]}, {"x": [[b"hello"], [b"world"]]}),
        # SingleNamedTensorBase64
        ({"x": "string"}, {"instances": [{"x": [[B64[0]], [B64[1]]]}]}, {"x": [[[b"hello"], [b"world"]]]}),
        # MultipleNamedTensor
        (
            {"i": "int32", "s": "string", "f": "float32", "d": "float64"},
            {
                "instances": [
                    {"i": [[1, 2], [3, 4], [5, 6]], "s": ["foo", "bar"], "f": [1.0, NAN], "d": [NAN]},
                    {"i": [[7, 8], [9, 0], [1, 2]], "s": ["baz", "bat"], "f": [2.0, INF], "d": [2.0]},
                ]
            },
            {
                "i": [[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 0], [1, 2]]],
                "s": [[b"foo", b"bar"], [b"baz", b"bat"]],
                "f": [[1, NAN], [2, INF]],
                "d": [[NAN], [2]],
            },
        ),
        # SingleUnnamedTensorColumnarFormat
        ({"x": "int32"}, {"inputs": {"x": [[[1, 2], [3, 4], [5, 6]]]}}, {"x": [[[1, 2], [3, 4], [5, 6]]]}),
        ({"x": "int32"}, {"inputs": [[[1, 2], [3, 4], [5, 6]]]}, {"x": [[[1, 2], [3, 4], [5, 6]]]}),
        # MultipleNamedTensorColumnarFormat
        (
            {"i": "int32", "s": "string", "b": "string"},
            {"inputs": {"i": [[[1, 2], [3, 4], [5, 6]]], "s": ["foo", "bar"], "b": B64[0]}},
            {"i": [[[1, 2], [3, 4], [5, 6]]], "s": [b"foo", b"bar"], "b": b"hello"},
        ),
        # What no test there names: other dtypes, empty tensors, a bare value, keys that are too many.
        ({"x": "int8"}, {"inputs": [-128, 127]}, {"x": [-128, 127]}),
        ({"x": "uint8"}, {"inputs": [0, 255]}, {"x": [0, 255]}),
        ({"x": "uint32"}, {"inputs": [2**32 - 1]}, {"x": [2**32 - 1]}),
        ({"x": "uint64"}, {"inputs": [2**64 - 1]}, {"x": [2**64 - 1]}),
        ({"x": "int64"}, {"inputs": [-(2**63)]}, {"x": [-(2**63)]}),
        ({"x": "bool"}, {"inputs": [[True], [False]]}, {"x": [[True], [False]]}),
        ({"x": "float32"}, {"inputs": 1.5}, {"x": 1.5}),
        ({"x": "float32"}, {"inputs": [[], []]}, {"x": np.zeros((2, 0))}),
        ({"x": "float32"}, {"inputs": {"x": [1], "more": [2]}}, {"x": [1]}),
        ({"x": "float32"}, {"instances": [2**24 - 1, 1e30]}, {"x": [2**24 - 1, 1e30]}),
    ],
)
def test_tensors(inputs: dict[str, str], body: Any, expected: dict[str, Any]) -> None:
    found = tensors_of(body, signature(**inputs))
    assert decode(body, signature(**inputs)).is_row_form == ("instances" in body)
    assert found.keys() == inputs.keys()
    for name, dtype in inputs.items():
        wanted = np.array(expected[name], dtype=object if dtype == "string" else dtype)
        assert found[name].shape == wanted.shape
        assert found[name].dtype == wanted.dtype
        np.testing.assert_array_equal(found[name], wanted)


@pytest.mark.parametrize(
    ("inputs", "body", "said"),
    [
        # SingleUnnamedTensorErrors
        ({"x": "int32"}, b"", "document is empty"),
        ({"x": "int32"}, {"signature_name": 5, "instances": [[1, 2], [5, 6, 7]]}, "must be a string value"),
        ({"x": "int32"}, {"instances": [[1, 2]], "inputs": [[1, 2]]}, "Not formatted correctly"),
        ({"x": "int32"}, {"instances": [[1, 2], [3, 4], [5, 6, 7]]}, "Expecting tensor size: 2 but got: 3"),
        ({"x": "int32"}, {"instances": [[1, 2], [3, 4], [[5, 6]]]}, "Expecting shape [2] but got: [1,2]"),
        ({"x": "int32"}, {"instances": [1, [1]]}, "Expecting shape [] but got: [1]"),
        ({"x": "int32"}, {"instances": [[1, 2], ["a", "b"]]}, 'JSON Value: "a" Type: String is not of expected type'),
        (
            {"x": "float32"},
            {"instances": [10**400]},
            "a number of more than 64 digits is too big to be stored in float",
        ),
        # MultipleNamedTensorErrors
        (
            {"i": "int32", "s": "string"},
            {"instances": [{"i": [[1], [2]], "s": ["a"]}, {"i": [[[1], [2]]], "s": ["b"]}]},
            "Failed to process element: 1 key: i of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape",
        ),
        (
            {"i": "int32", "s": "string"},
            {"instances": [{"i": [[1], [2]], "s": ["a"]}, {"i": [[1]], "s": ["b"]}]},
            "Expecting tensor size: 2 but got: 1",
        ),
        ({"i": "int32"}, {"instances": [{"i": 1}, [1], {"i": 2}]}, "Expecting object but got list at item 1"),
        ({"s": "string"}, {"instances": [["a"], {"s": ["b"]}]}, "Expecting value/list but got object at item 1"),
        # What no test there names.
        ({"x": "int32"}, b"instances = [1, 2]", "JSON Parse error: Invalid value"),
        ({"x": "int32"}, [1], "Is not object"),
        ({"x": "int32"}, {}, "Missing 'inputs' or 'instances' key"),
        ({"x": "int32"}, {"instances": {}}, "to be an list/array"),
        ({"x": "int32"}, {"instances": []}, "No values in 'instances' array"),
        ({"x": "int32"}, {"instances": [1.0]}, "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        ({"x": "int8"}, {"instances": [128]}, "not of expected type: int8"),
        ({"x": "uint8"}, {"instances": [-1]}, "not of expected type: uint8"),
        ({"x": "uint64"}, {"instances": [2**64]}, "not of expected type: uint64"),
        ({"x": "bool"}, {"instances": [1]}, "not of expected type: bool"),
        ({"x": "float32"}, {"instances": [True]}, "Type: True is not of expected type: float"),
        ({"x": "float32"}, {"instances": [None]}, "JSON Value: null Type: Null is not of expected type: float"),
        ({"x": "float32"}, {"instances": [{"b64": "AA=="}]}, "Type: Object is not of expected type: float"),
        ({"x": "string"}, {"inputs": [{"b64": "*"}]}, "Unable to base64 decode"),
        ({"x": "string"}, {"inputs": {"x": [{"b64": "AA==", "y": 1}]}}, "not formatted correctly for base64 data"),
        (
            {"x": "string"},
            {"inputs": [["a"], "b"]},
            "incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        ({"x": "string"}, {"inputs": ["a", ["b"]]}, "Encountered list at unexpected level: 1 expected < 1"),
        ({"x": "string"}, {"inputs": [["a"], ["b", "c"]]}, "unexpected size: 2 at level: 1 expected size: 1"),
        ({"x": "float32", "y": "float32"}, {"inputs": {"x": [1]}}, "Missing named input: y in 'inputs' object."),
        ({"x": "float32", "y": "float32"}, {"inputs": [1]}, "inputs is a plain value/list, but expecting an object"),
        ({"x": "float32", "y": "float32"}, {"instances": [1]}, "instances is a plain list, but expecting"),
        ({"x": "float32"}, {"instances": [{"y": 1}]}, "JSON object: does not have named input: y"),
        ({"x": "float32", "y": "float32"}, {"instances": [{"x": 1}]}, "keys must be equal to: x,y; missing: y"),
    ],
)
def test_what_is_no_tensor(inputs: dict[str, str], body: Any, said: str) -> None:
    assert said in refuse(body, signature(**inputs))


def test_a_signature_by_name() -> None:
    """SingleUnnamedTensorWithSignature."""
    found = decode({"signature_name": "images", "instances": [[1, 2]]}, signature("images", x="int32"))
    assert found.signature.name == "images"
    with pytest.raises(UnknownSignature, match='Serving signature name: "other" not found in signature def'):
        decode({"signature_name": "other", "instances": [[1, 2]]}, signature(x="int32"))
    assert decode({"signature_name": "", "instances": [1]}, signature(x="int32")).signature.name == "serving_default"


def test_what_follows_the_document_is_ignored() -> None:
    """TensorFromNonNullTerminatedBuffer, and the parser's habit to stop when the document is done."""
    assert tensors_of(b'{"instances": [[1,2],[3,4]]}X', signature(x="int32"))["x"].shape == (2, 2)


@pytest.mark.parametrize(("dtype", "word"), [("uint16", "uint16"), ("float16", "half"), ("complex64", "complex64")])
def test_dtypes_that_json_has_no_form_for(dtype: str, word: str) -> None:
    for body in ({"instances": [1]}, {"inputs": [1]}):
        with pytest.raises(Unimplemented, match=rf"Conversion of JSON Value: \[1\] to type: {word}"):
            tensors_of(body, signature(x=dtype))


def test_values_are_cut_in_messages() -> None:
    for body in ({"instances": ["a" * 10**6]}, {"instances": [["a" * 10**6] * 3]}, {"inputs": {"x": "é" * 10**6}}):
        assert len(refuse(body, signature(x="float32"))) < 400


def test_rows_and_columns_of_a_model_of_ours() -> None:
    rows, columns = tensors_of({"instances": [ROW, ROW]}), tensors_of({"inputs": COLUMNS})
    assert {name: [*values] for name, values in (decode({"instances": [ROW, ROW]}).columns() or {}).items()} == COLUMNS
    for feature in INPUTS:
        np.testing.assert_array_equal(rows[feature.name], columns[feature.name])


@pytest.mark.parametrize("rows", [[ROW, {}], [ROW, 1], [{**ROW, "more": 1}], [], None, {"a": 1}, [1]])
def test_what_is_unusual_is_left_to_the_slow_way(rows: Any) -> None:
    assert decode({"instances": rows}).columns() is None
    assert refuse({"instances": rows})


def test_a_wrong_name_of_a_model_of_ours() -> None:
    renamed = {"amuont" if name == "amount" else name: value for name, value in ROW.items()}
    assert "does not have named input: amuont; did you mean 'amount'?" in refuse({"instances": [ROW, renamed]})
    lacking = {name: value for name, value in COLUMNS.items() if name != "amount"}
    assert "Missing named input: amount in 'inputs' object. did you mean" in refuse(
        {"inputs": {**lacking, "amuont": [1, 2]}}
    )


def test_each_input_tells_its_own_problem() -> None:
    said = refuse({"instances": [ROW, {**ROW, "amount": None, "city": 5}]})
    assert "element: 1 key: amount of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: null Type: Null" in said
    assert "element: 1 key: city of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: 5 Type: Number" in said
    assert "value: 1 of 'inputs' object" in refuse({"inputs": {**COLUMNS, "seen": [0, "yesterday"]}})
    assert "int64, or microseconds since 1970 in UTC, or an ISO 8601 string, null" in refuse(
        {"instances": [{**ROW, "seen": "yesterday"}]}
    )


def rows_of(**outputs: Any) -> str:
    return tfs.encode_predict({n: np.asarray(v) for n, v in outputs.items()}, True).decode()


def columns_of(**outputs: Any) -> str:
    return tfs.encode_predict({n: np.asarray(v) for n, v in outputs.items()}, False).decode()


def strings(*values: Any) -> Any:
    return np.array(values, dtype=object)


def test_one_output_is_written_bare() -> None:
    """FromJsonSingleTensor, FromJsonSingleScalarTensor, FromJsonSingleBytesTensor, FromJsonSingleZeroBatchTensor."""
    cube = [[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 0], [1, 2]]]
    assert json.loads(rows_of(x=np.array(cube, np.int32))) == {"predictions": cube}
    assert json.loads(columns_of(x=np.array(cube, np.int32))) == {"outputs": cube}
    assert json.loads(rows_of(x=[1, 2, 3, 4, 5])) == {"predictions": [1, 2, 3, 4, 5]}
    hello = strings([b"hello", b"world"], [b"tf", b"serving"])
    assert json.loads(rows_of(x_bytes=hello)) == {
        "predictions": [list(B64), [{"b64": "dGY="}, {"b64": "c2VydmluZw=="}]]
    }
    assert json.loads(rows_of(x=hello)) == {"predictions": [["hello", "world"], ["tf", "serving"]]}
    assert rows_of(x=np.zeros((0, 2), np.int32)) == '{"predictions":[]}'
    assert columns_of(x=np.float32(1.5)) == '{"outputs":1.5}'


def test_floats_come_back_as_they_were() -> None:
    """FromJsonSingleFloatTensorSixDigitPrecision; whole numbers stay decimals."""
    values = np.array([[9000000, 999999, 0.5], [0.0003, 0.00003, 555557.5], [0.1, 1 / 3, 16777216]], np.float32)
    text = rows_of(x=values)
    np.testing.assert_array_equal(np.array(json.loads(text)["predictions"], np.float32), values)
    assert "999999.0" in text
    assert "0.1," in text


def test_numbers_that_json_has_not() -> None:
    """FromJsonSingleFloatTensorNonFinite: bare tokens, as TensorFlow Serving writes them."""
    values = np.array([[NAN, INF], [3, -INF]], np.float32)
    assert rows_of(x=values) == '{"predictions":[[NaN,Infinity],[3.0,-Infinity]]}'
    several = rows_of(x=values, y=np.array([0.1, 0.2], np.float32))
    assert several.startswith('{"predictions":[{"x":[NaN,Infinity],"y":0.1}')
    several = columns_of(x=values, y=strings(b"a", b"b"))
    assert several == '{"outputs":{"x":[[NaN,Infinity],[3.0,-Infinity]],"y":["a","b"]}}'


def test_several_outputs_are_objects() -> None:
    """FromJsonMultipleNamedTensors, FromJsonMultipleZeroBatchTensors."""
    outputs = {"d": np.array([8.0, 9.0]), "f": np.array([[1.0], [2.0]], np.float32), "s": strings([b"a"], [b"b"])}
    assert json.loads(rows_of(**outputs)) == {
        "predictions": [{"d": 8.0, "f": [1.0], "s": ["a"]}, {"d": 9.0, "f": [2.0], "s": ["b"]}]
    }
    assert json.loads(columns_of(**outputs)) == {"outputs": {"d": [8.0, 9.0], "f": [[1.0], [2.0]], "s": [["a"], ["b"]]}}
    assert rows_of(x=np.zeros((0, 1)), y=np.zeros((0, 3, 4))) == '{"predictions":[]}'


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({}, "empty tensor map"),  # FromJsonSingleTensorErrors
        ({"x": np.zeros(2, np.complex64)}, "tensor type: complex64"),
        ({"x": np.int32(1)}, "no shape information"),
        ({"x": [1, 2], "y": [1]}, "inconsistent batch size"),  # FromJsonMultipleNamedTensorsErrors
        ({"x": [], "y": [1]}, "inconsistent batch size"),  # FromJsonMultipleZeroBatchTensorsErrors
    ],
)
def test_what_has_no_row_form(outputs: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        rows_of(**outputs)


def test_metadata_and_status() -> None:
    shown = json.loads(tfs.encode_metadata("m", 12, ours()))
    assert shown["model_spec"] == {"name": "m", "signature_name": "", "version": "12"}
    assert list(shown["metadata"]["signature_def"]["signature_def"]) == ["serving_default"]
    status = json.loads(tfs.encode_status("m", ready=True, versions=[(1, "END", "broken"), (2, "AVAILABLE", "")]))
    assert (status["name"], status["ready"]) == ("m", True)
    assert status["model_version_status"] == [
        {"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}},
        {"version": "1", "state": "END", "status": {"error_code": "UNAVAILABLE", "error_message": "broken"}},
    ]
