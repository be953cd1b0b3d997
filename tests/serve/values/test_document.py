"""JSON bytes to values and back, and values in messages."""

import math
from typing import Any

import numpy as np
import pytest

from serve.errors import InvalidRequest
from serve.values.document import describe, dump_json, kind_of, parse_json

INF = math.inf


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        ("a", '"a"'),
        ("x" * 100, '"' + "x" * 63 + "…"),
        ([1, 2], "[1, 2]"),
        ([[1] * 100] * 10**6, "[[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,…"),
        ({"a": 1}, '{"a": 1}'),
        (1.5, "1.5"),
        (-INF, "-Infinity"),
        (10**400, "a number of more than 64 digits"),
    ],
)
def test_describes(value: Any, text: str) -> None:
    assert describe(value) == text


def test_kinds() -> None:
    values = (None, True, False, 1, 1.5, "a", [], {})
    assert [kind_of(v) for v in values] == "Null True False Number Number String Array Object".split()


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


def test_the_rest_is_refused_where_the_protocol_does() -> None:
    assert parse_json(memoryview(b"[NaN] \n"), ignore_rest=False) != []
    with pytest.raises(InvalidRequest, match="unexpected text after the document at character 3"):
        parse_json(b"[1] and the rest", ignore_rest=False)


@pytest.mark.parametrize(
    "body",
    [b"", b"  ", b"{", b"nan", b'{"a":}', b"\xff\xfe", b"[" * 100_000, b"9" * 5_000, b'{"a": "\xff"}', b"{'a': 1}"],
)
def test_refuses_what_is_not_json(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="JSON Parse error"):
        parse_json(body)


def test_half_a_surrogate_pair_is_escaped() -> None:
    assert dump_json({"id": "a\ud800", "x": np.array([0.1], np.float32)}) == b'{"id":"a\\ud800","x":[0.1]}'


def test_writes_what_json_has_not_as_tokens_or_null() -> None:
    values = {"a": np.array([math.nan, 0.1], np.float32), "b": [np.float64(INF), np.int32(3)]}
    assert dump_json(values, non_finite=True) == b'{"a":[NaN,0.1],"b":[Infinity,3]}'
    assert dump_json(values) == b'{"a":[null,0.1],"b":[null,3]}'


def test_a_deep_value_is_cut() -> None:
    deep: object = 1
    for _ in range(500):
        deep = {"a": [deep]}
    assert describe(deep) == '{"a": [' * 9 + "{…"
    assert describe([{}, {"a": [1, 2.5, None, "é"], "b": []}]) == '[{}, {"a": [1, 2.5, null, "é"], "b": []}]'
