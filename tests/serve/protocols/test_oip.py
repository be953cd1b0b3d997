"""The Open Inference Protocol's requests and responses, without a server."""

import json
import re
from typing import Any

import numpy as np
import pytest

from serve.errors import InvalidRequest, UnknownSignature
from serve.protocols import oip
from serve.servables.signatures import PREDICT, SERVING_DEFAULT, Signature, TensorInfo
from serve.values.arrays import decode_values
from serve.values.tensors import encode_binary
from tests.serve.models import ROW
from tests.serve.signatures import ours

FLOATS, TEXTS = TensorInfo("x", "float32", (-1, 2)), TensorInfo("s", "string", (-1,))
SIGNATURES = {
    SERVING_DEFAULT: Signature(
        SERVING_DEFAULT,
        PREDICT,
        {"x": FLOATS, "s": TEXTS},
        {"y": TensorInfo("y", "float32", (-1, 2)), "t": TensorInfo("t", "string", (-1,))},
    )
}
X = np.array([[1, 2], [3, 4]], np.float32)
S = np.array([b"a", b"b"], object)
ANSWER = {"y": X, "t": S}


def tensor(which: str, **changes: Any) -> dict[str, Any]:
    made = {
        "x": {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]},
        "s": {"name": "s", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]},
    }[which]
    return {key: value for key, value in {**made, **changes}.items() if value is not None}


def binary(name: str, values: Any) -> tuple[dict[str, Any], bytes]:
    blob = encode_binary(values)
    return tensor(name, data=None, parameters={"binary_data_size": len(blob)}), blob


def decode(document: Any, *blobs: bytes, signatures: dict[str, Signature] | None = None) -> oip.InferRequest:
    header = json.dumps(document).encode()
    length = len(header) if blobs else None
    asked = oip.decode_infer(b"".join([header, *blobs]), length, signatures or SIGNATURES)
    tensors = asked.inputs()
    columns = asked.columns() if asked.signature.is_tabular else None
    for name, values in (columns or {}).items():
        decoded = decode_values(values, asked.signature.inputs[name], exact=asked.is_exact)
        np.testing.assert_array_equal(decoded, tensors[name])
    return asked


def refuse(document: Any, *blobs: bytes) -> str:
    with pytest.raises(InvalidRequest) as caught:
        decode(document, *blobs)
    return str(caught.value)


def check(request: oip.InferRequest) -> None:
    np.testing.assert_array_equal(request.inputs()["x"], X)
    np.testing.assert_array_equal(request.inputs()["s"], S)


@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        ({}, 2),
        ({"shape": [2**62]}, 4),
        ({"shape": [2**62], "data": None}, 1),
        ({"shape": [2**62], "data": 3}, 1),
        ({"shape": [-1]}, 1),
        ({"shape": [True]}, 1),
        ({"shape": None}, 1),
    ],
)
def test_a_shape_claims_no_more_rows_than_values_came(changes: dict[str, Any], rows: int) -> None:
    body = json.dumps({"inputs": [tensor("x", **changes)]}).encode()
    assert oip.decode_infer(body, None, SIGNATURES).rows == rows


def test_what_is_no_tensor_counts_as_one_row() -> None:
    for inputs in ([], [1], ["x"], {"x": 1}, [[1]]):
        body = json.dumps({"inputs": inputs}).encode()
        assert oip.decode_infer(body, None, SIGNATURES).rows == 1


def test_json_binary_and_mixed_tensors_are_the_same() -> None:
    check(decode({"inputs": [tensor("x"), tensor("s")]}))
    check(decode({"inputs": [tensor("s"), tensor("x", data=[[1, 2], [3, 4]])]}))
    (x, x_blob), (s, s_blob) = binary("x", X), binary("s", S)
    check(decode({"inputs": [x, s]}, x_blob, s_blob))
    check(decode({"inputs": [s, x]}, s_blob, x_blob))  # in the order of the list
    check(decode({"inputs": [tensor("s"), x]}, x_blob))


def test_a_big_binary_tensor_is_not_copied() -> None:
    image = TensorInfo("image", "float32", (-1, 224, 224, 3))
    signatures = {SERVING_DEFAULT: Signature(SERVING_DEFAULT, PREDICT, {"image": image}, {"y": FLOATS})}
    pixels = np.random.default_rng(1).random((1, 224, 224, 3), np.float32)
    document = {
        "inputs": [
            {
                "name": "image",
                "shape": list(pixels.shape),
                "datatype": "FP32",
                "parameters": {"binary_data_size": pixels.nbytes},
            }
        ]
    }
    header = json.dumps(document).encode()
    body = header + pixels.tobytes()
    decoded = oip.decode_infer(body, len(header), signatures).inputs()["image"]
    np.testing.assert_array_equal(decoded, pixels)
    assert np.shares_memory(decoded, np.frombuffer(body, np.uint8))


def test_the_id_is_echoed_or_made() -> None:
    inputs = [tensor("x"), tensor("s")]
    assert decode({"id": "mine", "inputs": inputs}).id == "mine"
    made = {decode({"inputs": inputs}).id for _ in range(2)}
    assert len(made) == 2
    assert all(re.fullmatch("[0-9a-f]{12}-[0-9a-f]+", each) for each in made)


def test_what_a_client_leaves_empty_is_not_there() -> None:
    check(decode({"id": None, "parameters": None, "outputs": None, "inputs": [tensor("x"), tensor("s")]}))


def test_whole_numbers_are_rounded_to_floats() -> None:
    """Many languages write a whole float without its point, and the protocol does not ask what a float can hold."""
    found = decode({"inputs": [tensor("x", data=[16777217, 2, 3, 4]), tensor("s")]}).inputs()["x"]
    assert found[0, 0] == np.float32(16777217)
    asked = decode(
        {"inputs": [{"name": "amount", "shape": [1], "datatype": "FP32", "data": [16777217]}]},
        signatures=ours("amount"),
    )
    assert asked.inputs()["amount"] == np.float32(16777217)
    assert not asked.is_exact


def test_which_outputs_and_how() -> None:
    inputs = [tensor("x"), tensor("s")]
    everything = decode({"inputs": inputs}).outputs
    assert everything == (oip.WantedOutput("y", is_binary=False), oip.WantedOutput("t", is_binary=False))
    as_bytes = decode({"inputs": inputs, "parameters": {"binary_data_output": True}}).outputs
    assert [output.is_binary for output in as_bytes] == [True, True]
    mixed = decode(
        {
            "inputs": inputs,
            "parameters": {"binary_data_output": True},
            "outputs": [{"name": "t", "parameters": {"binary_data": False}}, {"name": "y"}],
        }
    ).outputs
    assert mixed == (oip.WantedOutput("t", is_binary=False), oip.WantedOutput("y", is_binary=True))
    best = decode({"inputs": inputs, "outputs": [{"name": "y", "parameters": {"classification": 3}}]}).outputs
    assert best == (oip.WantedOutput("y", is_binary=False, classes=3),)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "expected an object with 'inputs'"),
        ({}, "inputs: expected a list of tensors, found null"),
        ({"inputs": [1]}, "inputs[0]: expected an object with a name, found 1"),
        ({"inputs": [tensor("x", name="X")]}, 'inputs[0]: the model has no input "X"; expected one of: s, x'),
        ({"inputs": [tensor("x"), tensor("x")]}, "inputs[1]: input 'x' is there twice"),
        ({"inputs": [tensor("x")]}, "expected 2 inputs, found 1: missing 's' (BYTES)"),
        ({"inputs": [tensor("x", datatype="FP64")]}, "input 'x': expected datatype FP32, found \"FP64\""),
        ({"inputs": [tensor("x", datatype=None)]}, "expected datatype FP32, found null"),
        ({"inputs": [tensor("x", shape=[4])]}, "input 'x': expected shape [-1, 2], found [4]"),
        ({"inputs": [tensor("x", shape=[2, -1])]}, "shape: expected a list of sizes"),
        ({"inputs": [tensor("x", shape=[2.0, 2])]}, "shape: expected a list of sizes"),
        ({"inputs": [tensor("x", shape=[2**31 - 1, 0][::-1])]}, "expected shape [-1, 2]"),
        ({"inputs": [tensor("s", shape=[0, 2**30][:1], data=[])]}, "missing 'x'"),
        ({"inputs": [tensor("x", shape=[3, 2])]}, "input 'x': expected 6 values for shape [3, 2], found 4"),
        ({"inputs": [tensor("x", data=[1, 2, 3, "4"]), tensor("s")]}, "input 'x', value 3: JSON Value: "),
        ({"inputs": [tensor("x", data=None)]}, "has neither data nor the parameter binary_data_size"),
        ({"inputs": [tensor("x", parameters={"binary_data_size": 16})]}, "and 0 bytes are left after the JSON"),
        ({"inputs": [tensor("x", parameters={"shared_memory_region": "r"})]}, "shared memory is not supported"),
        ({"inputs": [tensor("x", parameters=[])]}, "input 'x': parameters: expected an object"),
        ({"id": 5, "inputs": [tensor("x"), tensor("s")]}, "id: expected a string, found 5"),
        ({"inputs": [tensor("x"), tensor("s")], "outputs": [{"name": "z"}]}, "no output 'z'; it has y, t"),
        ({"inputs": [tensor("x"), tensor("s")], "outputs": {}}, "outputs: expected a list"),
        (
            {"inputs": [tensor("x"), tensor("s")], "outputs": [{"name": "y", "parameters": {"classification": -1}}]},
            "outputs[0]: binary_data is true or false",
        ),
    ],
)
def test_what_does_not_fit(document: Any, said: str) -> None:
    assert said in refuse(document)


def test_bytes_that_nobody_names_or_that_are_not_there() -> None:
    x, blob = binary("x", X)
    assert "3 bytes after the JSON belong to no input" in refuse({"inputs": [x, tensor("s")]}, blob + b"abc")
    assert "binary_data_size is 16, and 15 bytes are left" in refuse({"inputs": [x, tensor("s")]}, blob[:-1])
    assert "has both data and binary_data_size" in refuse({"inputs": [{**x, "data": [1]}, tensor("s")]}, blob)
    for size in (-1, 1.5, "16", True):
        wrong = {**x, "parameters": {"binary_data_size": size}}
        assert "binary_data_size is" in refuse({"inputs": [wrong, tensor("s")]}, blob)
    body = json.dumps({"inputs": []}).encode()
    for length in (0, len(body) + 1):
        with pytest.raises(InvalidRequest, match="Inference-Header-Content-Length is"):
            oip.decode_infer(body, length, SIGNATURES)
    with pytest.raises(InvalidRequest, match="unexpected text after the document"):
        oip.decode_infer(body + b"\0\0", None, SIGNATURES)


def test_a_signature_by_parameter() -> None:
    with pytest.raises(UnknownSignature):
        decode({"parameters": {"signature_name": "other"}, "inputs": []})
    assert "signature_name is not a string" in refuse({"parameters": {"signature_name": 1}, "inputs": []})


def test_null_and_text_times_for_a_model_of_ours() -> None:
    signatures = ours("weight", "seen")
    inputs = [
        {"name": "weight", "shape": [2], "datatype": "FP64", "data": [None, 1]},
        {"name": "seen", "shape": [2], "datatype": "INT64", "data": [ROW["seen"], None]},
    ]
    decoded = decode({"inputs": inputs}, signatures=signatures).inputs()
    assert np.isnan(decoded["weight"][0])
    assert decoded["seen"].tolist() == [1359633600000000, -(2**63)]


def test_answers_in_json_and_in_bytes() -> None:
    inputs = [tensor("x"), tensor("s")]
    body, length = oip.encode_infer(decode({"id": "i", "inputs": inputs}), ("m", 3), ANSWER)
    assert length is None
    assert json.loads(body) == {
        "model_name": "m",
        "model_version": "3",
        "id": "i",
        "outputs": [
            {"name": "y", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]},
            {"name": "t", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]},
        ],
    }
    mixed = decode({"inputs": inputs, "outputs": [{"name": "t"}, {"name": "y", "parameters": {"binary_data": True}}]})
    body, length = oip.encode_infer(mixed, ("m", 3), ANSWER)
    assert length is not None
    text, values = json.loads(body[:length])["outputs"]
    assert text["data"] == ["a", "b"]
    assert values == {"name": "y", "shape": [2, 2], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
    assert body[length:] == X.tobytes()


def test_classes_are_written_as_triton_does() -> None:
    scores = np.array([[0.1, 0.7, 0.2]], np.float32)
    best = oip.best_classes("y", scores, 2, ["low", "mid", "high"])
    assert best.tolist() == [[b"0.700000:1:mid", b"0.200000:2:high"]]
    assert oip.best_classes("y", scores, 9, []).tolist() == [[b"0.700000:1", b"0.200000:2", b"0.100000:0"]]
    assert oip.best_classes("p", np.array([0.75], np.float32), 1, ["no", "yes"]).tolist() == [[b"0.750000:1:yes"]]
    with pytest.raises(InvalidRequest, match="classification needs one row of scores per row"):
        oip.best_classes("t", S, 1, [])
