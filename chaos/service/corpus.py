"""Hand-written requests that no client should send; the server must refuse each quickly, with a 4xx status."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from chaos.service.wire import INFER, PREDICT, as_json, compressed, heads, http, paths
from tests.serve.models import INPUTS, ROW

INDEX: Final = "/v2/repository/index"

DATATYPES: Final = {"float32": "FP32", "float64": "FP64", "int64": "INT64", "bool": "BOOL", "string": "BYTES"}


@dataclass(frozen=True)
class Hostile:
    """A bad request, as the bytes that are sent.

    Attributes:
        name: What is wrong with it.
        raw: The whole request, with its head.
    """

    name: str
    raw: bytes


def tensors(row: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return a valid row as tensors of the V2 protocol."""
    values = row or ROW
    return [
        {"name": f.name, "shape": [1], "datatype": DATATYPES[f.tensor_dtype], "data": [values[f.name]]} for f in INPUTS
    ]


def all_requests() -> list[Hostile]:
    """Return all hand-written requests."""
    return [
        *(
            Hostile(f"{where}: {name}", http("POST", where, body))
            for name, body in documents()
            for where in (PREDICT, INFER)
        ),
        *(Hostile(f"row: {name}", http("POST", PREDICT, body)) for name, body in rows()),
        *(Hostile(f"tensor: {name}", http("POST", INFER, body)) for name, body in infer_requests()),
        *(Hostile(f"binary: {name}", raw) for name, raw in binary()),
        *(Hostile(f"path: {path[:60]}", http(method, path, b"{}")) for method, path in paths()),
        *(Hostile(f"index: {body[:40]!r}", http("POST", INDEX, body)) for body in INDEXES),
        *(Hostile(f"compressed: {name}", raw) for name, raw in compressed()),
        *(Hostile(f"head: {name}", raw) for name, raw in heads()),
    ]


def documents() -> Iterator[tuple[str, bytes]]:
    """Yield bodies that are not a request of any protocol."""
    for text in ("", " ", "null", "true", "0", '"x"', "[]", "{}", "[[]]", "{", "[", '"', "nul", "{]", "{}{}", "'x'"):
        yield repr(text), text.encode()
    for key in ("instances", "inputs", "outputs", "parameters", "id", "signature_name", "examples"):
        for value in (None, 0, "x", [], {}, [None], [[]], [{}], [[[[]]]], True):
            yield f"{key} is {value!r}", as_json({key: value})
    yield "not UTF-8", b'{"instances": ["\xff\xfe"]}'
    yield "UTF-16", '{"instances": []}'.encode("utf-16")
    yield "a byte order mark", b"\xef\xbb\xbf{}"
    yield "null bytes", b"\0" * 1000
    yield "half a surrogate pair", b'{"instances": ["\\ud800"]}'
    yield "deep lists", b'{"instances": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    yield "deep objects", b'{"inputs": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_001
    yield "many keys", as_json({str(n): n for n in range(50_000)})
    yield "a repeated key", b"{" + b",".join([b'"instances": [1]'] * 10_000) + b"}"
    yield "a number of many digits", b'{"instances": [' + b"9" * 100_000 + b"]}"
    yield "an exponent of many digits", b'{"instances": [1e' + b"9" * 10_000 + b"]}"
    yield "a key of a megabyte", b'{"' + b"k" * 1_000_000 + b'": 1}'
    yield "text after the JSON", b'{"instances": [1]} DROP TABLE'


def rows() -> Iterator[tuple[str, bytes]]:
    """Yield rows that do not match the model's inputs."""
    values: list[Any] = [
        None,
        True,
        "x",
        "",
        "1.5",
        1e39,
        -1e400,
        float("nan"),
        10**30,
        [],
        {},
        [[]],
        [1, 2],
        {"b64": "%"},
        {"b64": 1},
        {"b64": "eA==", "more": 1},
    ]
    for feature in INPUTS:
        for value in values:
            row = {**ROW, feature.name: value}
            if not is_valid(feature, value):
                yield f"{feature.name} is {value!r}"[:60], as_json({"instances": [row]})
        yield f"without {feature.name}", as_json({"instances": [{k: v for k, v in ROW.items() if k != feature.name}]})
    yield "another key", as_json({"instances": [{**ROW, "more": 1}]})
    yield "both forms", as_json({"instances": [ROW], "inputs": {}})
    yield "a row that is a list", as_json({"instances": [ROW, [1]]})
    yield "columns of different lengths", as_json({"inputs": {k: [v] * (1 + (k == "city")) for k, v in ROW.items()}})
    yield "an unknown signature", as_json({"instances": [ROW], "signature_name": "x" * 10_000})
    yield "nested values", as_json({"inputs": {k: [[[v]]] for k, v in ROW.items()}})
    yield "bad parameters", as_json({"instances": [ROW], "parameters": {"on_row_error": "explode"}})


def is_valid(feature: Any, value: Any) -> bool:
    """Whether the server accepts a value for a feature."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return bool(feature.nullable)
    if feature.tensor_dtype == "string":
        return isinstance(value, str)
    if feature.dtype == "bool":
        return value is True
    return feature.dtype == "float64" and value in (1e39, 10**30) and not isinstance(value, bool)


def infer_requests() -> Iterator[tuple[str, bytes]]:
    """Yield infer requests that are invalid, or do not match their own tensors."""
    changes: list[dict[str, Any]] = [
        {"shape": [2]}, {"shape": [-1]}, {"shape": [2**62]}, {"shape": [2**64]}, {"shape": []}, {"shape": [1, 1]},
        {"shape": [0]}, {"shape": "1"}, {"shape": [1.0]}, {"shape": [True]}, {"shape": None}, {"shape": [1] * 300},
        {"datatype": "FP16"}, {"datatype": "fp32"}, {"datatype": None}, {"datatype": 1}, {"datatype": "BYTES " * 999},
        {"data": None}, {"data": {}}, {"data": [[1]]}, {"data": []}, {"data": "x"}, {"data": [1, 2]}, {"data": [None]},
        {"data": [[[[[1]]]]]}, {"data": [True]}, {"data": ["1"]}, {"data": [1e39]}, {"data": [10**400]},
        {"name": None}, {"name": 1}, {"name": "amuont"}, {"name": ""}, {"name": "x" * 100_000}, {"parameters": []},
        {"parameters": {"binary_data_size": 4}}, {"parameters": {"binary_data_size": -1}},
        {"parameters": {"binary_data_size": 2**70}}, {"parameters": {"shared_memory_region": "x"}},
    ]  # fmt: skip
    for change in changes:
        inputs = tensors()
        inputs[0] = {**inputs[0], **change}
        yield f"{change}"[:60], as_json({"inputs": inputs})
    yield "an input twice", as_json({"inputs": [*tensors(), tensors()[0]]})
    yield "an input missing", as_json({"inputs": tensors()[1:]})
    yield "inputs by name", as_json({"inputs": {t["name"]: t for t in tensors()}})
    for outputs in ("x", [1], [{}], [{"name": 1}], [{"name": "nothing"}], [{"name": "class", "parameters": 1}]):
        yield f"outputs {outputs}", as_json({"inputs": tensors(), "outputs": outputs})
    for parameters in ({"classification": -1}, {"classification": "1"}, {"binary_data": "yes"}):
        outputs_wanted = [{"name": "probability", "parameters": parameters}]
        yield f"outputs with {parameters}", as_json({"inputs": tensors(), "outputs": outputs_wanted})
    yield (
        "classes of a class",
        as_json({"inputs": tensors(), "outputs": [{"name": "class", "parameters": {"classification": 1}}]}),
    )
    yield "an id that is not a string", as_json({"inputs": tensors(), "id": 5})
    yield "an unknown signature", as_json({"inputs": tensors(), "parameters": {"signature_name": "x"}})
    yield "a sequence", as_json({"inputs": [], "parameters": {"sequence_id": 1, "sequence_start": True}})


def binary() -> Iterator[tuple[str, bytes]]:
    """Yield binary tensors that do not match their JSON header."""
    inputs = tensors()
    blobs = {"amount": b"\0\0\x80\x3f", "city": b"\x04\0\0\0Oslo"}
    for tensor in inputs:
        if tensor["name"] in blobs:
            del tensor["data"]
            tensor["parameters"] = {"binary_data_size": len(blobs[tensor["name"]])}
    head, blob = as_json({"inputs": inputs}), b"".join(blobs.values())
    for length in (
        "",
        "x",
        "-1",
        "0",
        str(10**30),
        str(len(head) - 1),
        str(len(head) + 1),
        str(len(head + blob) + 1),
        "1_0",
    ):
        yield f"a header of {length!r}", http("POST", INFER, head + blob, f"Inference-Header-Content-Length: {length}")
    for name, data in {
        "truncated": blob[:-1],
        "too long": blob + b"x",
        "empty": b"",
        "a string longer than the data": blob[:4] + b"\xff\xff\xff\xff" + blob[8:],
        "NaN": b"\0\0\xc0\x7f" + blob[4:],
    }.items():
        yield name, http("POST", INFER, head + data, f"Inference-Header-Content-Length: {len(head)}")
    huge = copy.deepcopy(inputs)
    huge[0]["shape"] = [2**31 - 1]
    yield (
        "two billion values",
        http(
            "POST",
            INFER,
            as_json({"inputs": huge}),
            f"Inference-Header-Content-Length: {len(as_json({'inputs': huge}))}",
        ),
    )


INDEXES: Final = (b"[]", b"1", b'{"ready": 1}', b'{"ready": "yes"}', b"{", b"\xff", b'{"ready": null}')
