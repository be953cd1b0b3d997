"""JSON values to arrays, one dtype at a time."""

import json
import math
from typing import Any

import numpy as np
import pytest

from pipelines.features import INT64_MIN, Dtype, Feature, Numeric
from serve.errors import BadValue, InvalidRequest
from serve.protocols.values import decode_column, describe, dump_json, encode_column, parse_json

NAN, INF = math.nan, math.inf


def feature(dtype: Dtype, *, nullable: bool = False) -> Feature:
    return Feature(name="x", dtype=dtype, nullable=nullable, transform=Numeric())


@pytest.mark.parametrize(
    ("dtype", "nullable", "values", "expected"),
    [
        ("float32", False, [1, 2.5, -0.0], [1, 2.5, 0]),
        ("float64", False, [1e300, 5e-324], [1e300, 5e-324]),
        ("float32", True, [None, 1.5], [NAN, 1.5]),
        ("float64", True, [NAN, 2], [NAN, 2]),
        ("int64", False, [0, 2**63 - 1, -(2**63) + 1], [0, 2**63 - 1, -(2**63) + 1]),
        ("int64", True, [None, NAN, 5], [INT64_MIN, INT64_MIN, 5]),
        ("bool", False, [True, False], [True, False]),
        ("bool", True, [True, False], [1, 0]),
        ("bool", True, [True, None, NAN, 0, 1], [1, INT64_MIN, INT64_MIN, 0, 1]),
        ("timestamp", False, [0, -5, 1359633600000000], [0, -5, 1359633600000000]),
        ("timestamp", False, ["1970-01-01T00:00:00.000001", "1970-01-01"], [1, 0]),
        ("timestamp", False, ["1970-01-01T01:00:00+01:00", "1969-12-31T23:59:59Z"], [0, -1000000]),
        ("timestamp", True, [None, "2013-01-31 12:00"], [INT64_MIN, 1359633600000000]),
        ("string", False, ["a", "", "é"], [b"a", b"", "é".encode()]),
        ("string", True, [None, "a"], [b"", b"a"]),
        ("string", False, [{"b64": "/w=="}, "a"], [b"\xff", b"a"]),
    ],
)
def test_takes(dtype: Dtype, nullable: bool, values: list[Any], expected: list[Any]) -> None:
    taken = feature(dtype, nullable=nullable)
    array = decode_column(values, taken)
    assert array.dtype == (object if dtype == "string" else taken.tensor_dtype)
    assert array.ndim == 1
    np.testing.assert_array_equal(array, np.array(expected, dtype=array.dtype))


WRONG: list[tuple[Dtype, bool, Any]] = [
    *[(dtype, False, None) for dtype in ("float32", "float64", "int64", "bool", "timestamp", "string")],
    *[(dtype, False, NAN) for dtype in ("float32", "float64", "int64", "bool", "timestamp", "string")],
    *[(dtype, True, value) for dtype in ("float32", "float64") for value in (INF, -INF, "1", True, [1], {}, 10**400)],
    ("float32", True, 1e39),
    ("float32", False, -1e39),
    *[("int64", True, value) for value in (1.0, 1.5, "1", True, 2**63, -(2**63) - 1, INF, [1], {"b64": "AA=="})],
    ("int64", False, INT64_MIN),
    *[("bool", False, value) for value in (0, 1, "true", 1.0, [])],
    *[("bool", True, value) for value in (2, -1, "true", 1.0, INT64_MIN)],
    *[("timestamp", True, value) for value in (1.5, "yesterday", "", True, "2013-13-01", 2**63, [0])],
    *[("string", True, value) for value in (1, True, NAN, ["a"], {"b64": 1}, {"b64": "*"}, {"b64": "AA==", "x": 1})],
    *[("string", True, value) for value in ("\ud800", {"b64": "\ud800"}, {})],
]


@pytest.mark.parametrize(("dtype", "nullable", "value"), WRONG)
def test_refuses(dtype: Dtype, nullable: bool, value: Any) -> None:
    good = {"bool": True, "string": "a"}.get(dtype, 1)
    with pytest.raises(BadValue) as caught:
        decode_column([good, value, good], feature(dtype, nullable=nullable))
    assert caught.value.position == 1
    assert caught.value.found == describe(value)
    assert ("null" in caught.value.expected) == nullable


def test_refuses_a_timestamp_that_leaves_the_calendar() -> None:
    array = decode_column(["0001-01-01T00:00:00+23:59"], feature("timestamp"))
    assert array[0] < decode_column(["0001-01-01"], feature("timestamp"))[0]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        ("a", 'the string "a"'),
        ("x" * 100, f'the string "{"x" * 64}…"'),
        ([1, 2], "a list of 2"),
        ({"a": 1}, "an object of 1 fields"),
        (1.5, "the number 1.5"),
        (-INF, "the number -Infinity"),
        (10**400, "a number of more than 64 digits"),
    ],
)
def test_describes(value: Any, text: str) -> None:
    assert describe(value) == text


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"[1] and the rest", [1]),
        (b" \xef\xbb\xbf[1]", [1]),
        (b"[Infinity, -Infinity]", [INF, -INF]),
        (b"18446744073709551616", 2**64),
        (b'"\\ud83d\\ude00"', "😀"),
    ],
)
def test_parses(body: bytes, value: Any) -> None:
    assert parse_json(body) == value


@pytest.mark.parametrize(
    "body",
    [b"", b"  ", b"{", b"nan", b'{"a":}', b"\xff\xfe", b"[" * 100_000, b"9" * 5_000, b'{"a": "\xff"}', b"{'a': 1}"],
)
def test_refuses_what_is_not_json(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="the body"):
        parse_json(body)


def test_writes_floats_in_their_shortest_form() -> None:
    column = encode_column("p", np.array([0.1, 1 / 3, 1e-7, 1], dtype=np.float32))
    assert dump_json(column) == b"[0.1,0.33333334,1e-7,1.0]"
    assert json.loads(dump_json(encode_column("p", np.array([0.1], dtype=np.float64)))) == [0.1]


def test_writes_bytes_as_text_or_base64_by_the_outputs_name() -> None:
    values = np.array([b"\xff", "é".encode()], dtype=object)
    assert encode_column("class", values) == ["\ufffd", "é"]
    assert encode_column("raw_bytes", values) == [{"b64": "/w=="}, {"b64": "w6k="}]
