"""Metadata, index and model configuration."""

import json

from serve.protocols.repository import encode_config, encode_index, encode_metadata
from serve.servables.signatures import PREDICT, SERVING_DEFAULT, Signature, TensorInfo
from tests.serve.signatures import ours


def test_the_index_has_every_version_or_those_that_answer() -> None:
    versions = [("m", 2, "AVAILABLE", ""), ("m", 1, "END", "damaged"), ("n", 1, "START", "")]
    assert json.loads(encode_index(versions, ready_only=False)) == [
        {"name": "m", "version": "2", "state": "READY", "reason": ""},
        {"name": "m", "version": "1", "state": "UNAVAILABLE", "reason": "damaged"},
        {"name": "n", "version": "1", "state": "UNAVAILABLE", "reason": ""},
    ]
    assert [v["version"] for v in json.loads(encode_index(versions, ready_only=True))] == ["2"]


def test_a_configuration_leaves_the_batch_dimension_out() -> None:
    shown = json.loads(encode_config("m", ours("amount", "city")[SERVING_DEFAULT], 64))
    assert shown["max_batch_size"] == 64
    assert shown["input"] == [
        {"name": "amount", "data_type": "TYPE_FP32", "dims": []},
        {"name": "city", "data_type": "TYPE_STRING", "dims": []},
    ]
    fixed = Signature("s", PREDICT, {"x": TensorInfo("x", "int32", (2, 3))}, {"y": TensorInfo("y", "bool", (1,))})
    shown = json.loads(encode_config("m", fixed, 64))
    assert (shown["max_batch_size"], shown["input"][0]["dims"]) == (0, [2, 3])


def test_metadata() -> None:
    shown = json.loads(encode_metadata("m", [1, 2], ours("amount")[SERVING_DEFAULT]))
    assert (shown["name"], shown["versions"], shown["platform"]) == ("m", ["1", "2"], "tensorflow_savedmodel")
    assert shown["inputs"] == [{"name": "amount", "datatype": "FP32", "shape": [-1]}]
    scalar = Signature("s", PREDICT, {"x": TensorInfo("x", "int32", ()), "y": TensorInfo("y", "int32", None)}, {})
    assert [i["shape"] for i in json.loads(encode_metadata("m", [1], scalar))["inputs"]] == [[], [-1]]
