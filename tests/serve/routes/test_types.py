"""The types of inputs and outputs are the same wherever a client reads them."""

import json
from pathlib import Path
from typing import Any

import pytest

from millrace.models.store import ModelStore
from millrace.storage import Store
from pipelines.commands.show import show_model
from serve.protocols import repository, tfs
from serve.servables.manager import ServableManager
from serve.servables.signatures import TensorInfo, parse_signatures
from serve.server.app import Application
from serve.server.openapi import describe_route
from tests.serve.client import ask
from tests.serve.models import INPUTS

pytestmark = [pytest.mark.tf, pytest.mark.case("S4")]

DATATYPES = {
    "DT_BOOL": "BOOL",
    "DT_UINT8": "UINT8",
    "DT_UINT16": "UINT16",
    "DT_UINT32": "UINT32",
    "DT_UINT64": "UINT64",
    "DT_INT8": "INT8",
    "DT_INT16": "INT16",
    "DT_INT32": "INT32",
    "DT_INT64": "INT64",
    "DT_HALF": "FP16",
    "DT_BFLOAT16": "BF16",
    "DT_FLOAT": "FP32",
    "DT_DOUBLE": "FP64",
    "DT_STRING": "BYTES",
    "DT_COMPLEX64": "COMPLEX64",
    "DT_QINT8": "QINT8",
    "DT_RESOURCE": "RESOURCE",
    "DT_VARIANT": "VARIANT",
}
"""The datatype of each type of TensorFlow, by the Open Inference Protocol; it has none for the last four."""
SHAPES: dict[str, tuple[int, ...] | None] = {"rows": (-1,), "image": (-1, 28, 3), "scalar": (), "any": None}


def triton(datatype: str) -> str:
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"


def by_name(tensors: list[dict[str, Any]], key: str) -> dict[str, Any]:
    return {tensor["name"]: tensor[key] for tensor in tensors}


def test_of_a_model_of_ours(
    app: Application, manager: ServableManager, model_store: ModelStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """All types that a table's column may have, required and nullable."""
    for name in ("tiny", "kinds"):
        show_model(name, None, model_store.store.root, "local")
        out, err = capsys.readouterr()
        shown = json.loads(out)["datatypes"]
        metadata = ask(app, "GET", f"/v2/models/{name}").json()
        config = ask(app, "GET", f"/v2/models/{name}/config").json()
        definition = ask(app, "GET", f"/v1/models/{name}/metadata").json()["metadata"]["signature_def"]
        for side in ("inputs", "outputs"):
            datatypes = by_name(metadata[side], "datatype")
            assert datatypes == shown[side]
            assert {n: triton(d) for n, d in datatypes.items()} == by_name(config[side[:-1]], "data_type")
            tensors = definition["signature_def"]["serving_default"][side]
            assert datatypes == {n: DATATYPES[t["dtype"]] for n, t in tensors.items()}
        route = describe_route("/v2/models/{name}/infer", manager)
        example = route["requestBody"]["content"]["application/json"]["examples"][name]["value"]["inputs"]
        assert by_name(example, "datatype") == by_name(metadata["inputs"], "datatype")
        assert type(by_name(example, "data")["maybe"][0]) is int
        for feature in INPUTS:
            line = next(line for line in err.splitlines() if line.split("│")[0].strip() == feature.name)
            assert line.split("│")[1].strip() == feature.dtype
            assert line.split("│")[2].strip() == shown["inputs"][feature.name]


def test_of_a_model_of_another_system(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel()
    graph = model.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    sides = graph.signature_def["serving_default"].inputs, graph.signature_def["serving_default"].outputs
    for tensors in sides:
        for number in types_pb2.DataType.values():
            word = types_pb2.DataType.Name(number)
            for form, shape in SHAPES.items():
                info = tensors[f"{word} {form}"]
                info.name, info.dtype = "t:0", number
                info.tensor_shape.unknown_rank = shape is None
                for size in shape or ():
                    info.tensor_shape.dim.add(size=size)
    folder = tmp_path / "models" / "m" / "1"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    (signature,) = parse_signatures(model.SerializeToString()).values()
    metadata = json.loads(repository.encode_metadata("m", [1], signature))
    config = json.loads(repository.encode_config("m", signature, 0))
    definitions = json.loads(tfs.encode_metadata("m", 1, {"serving_default": signature}))["metadata"]
    show_model("m", None, Store(str(tmp_path)).root, "local")
    shown = json.loads(capsys.readouterr().out)["signatures"]["serving_default"]
    for side in ("inputs", "outputs"):
        datatypes, shapes = by_name(metadata[side], "datatype"), by_name(metadata[side], "shape")
        tensors = definitions["signature_def"]["signature_def"]["serving_default"][side]
        assert len(datatypes) == len(tensors) == len(SHAPES) * len(types_pb2.DataType.values())
        assert by_name(shown[side], "datatype") == datatypes
        assert by_name(shown[side], "shape") == shapes == by_name(config[side[:-1]], "dims")
        assert by_name(config[side[:-1]], "data_type") == {n: triton(d) for n, d in datatypes.items()}
        for name, tensor in tensors.items():
            word, _, form = name.partition(" ")
            assert tensor["dtype"] == word
            assert datatypes[name] == DATATYPES.get(word, word.removeprefix("DT_"))
            if SHAPES[form] is None:
                assert tensor["tensor_shape"]["unknown_rank"]
                assert shapes[name] == [-1]
            else:
                assert shapes[name] == [int(dim["size"]) for dim in tensor["tensor_shape"]["dim"]]
                assert shapes[name] == list(SHAPES[form] or ())


def test_a_type_that_tensorflow_does_not_know_yet_has_its_number() -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel()
    graph = model.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    graph.signature_def["s"].inputs["x"].name = "x:0"
    graph.signature_def["s"].inputs["x"].dtype = 4711
    assert parse_signatures(model.SerializeToString())["s"].inputs == {"x": TensorInfo("x", "type_4711", ())}
