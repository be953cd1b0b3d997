"""The functions that read JSON lines on the executors, without Spark."""

import json

import pyarrow as pa

from ingest.grammar.json_objects import MOST_OTHERS, find_kinds, parse_lines
from ingest.spark.columns import FILE, REASON, TEXT

ANY = frozenset({"string", "number", "boolean", "object", "array"})
KEYS = {"id": "ID", "x": "x"}
FITTING = {"id": frozenset({"number", "NaN or infinity"}), "x": ANY}


def batch(*lines: str, reasons: tuple[str | None, ...] = ()) -> pa.RecordBatch:
    columns = {FILE: ["f"] * len(lines), TEXT: list(lines)}
    known = {REASON: pa.array(reasons or [None] * len(lines), pa.string())}
    return pa.RecordBatch.from_pydict({**columns, **known})


def test_the_kinds_of_values_of_a_file() -> None:
    lines = (
        '{"a": 1, "b": null}',
        '{"a": 2}',
        '{"a": "x", "c": [1]}',
        '{"a": {}, "d": true}',
        "[1]",
        "{",
        '{"n": NaN}',
    )
    (found,) = find_kinds(frozenset("ab"), True, iter([batch(*lines).select([FILE, TEXT])]))
    assert {(row["key"], row["kind"]) for row in found.to_pylist()} == {
        ("a", "number"), ("b", "null"), ("a", "string"), ("c", "array"), ("a", "object"), ("d", "boolean"),
        ("n", "NaN or infinity"),
    }  # fmt: skip
    assert {row["file"] for row in found.to_pylist()} == {"f"}
    (nothing,) = find_kinds(frozenset("ab"), True, iter([batch("1").select([FILE, TEXT])]))
    assert nothing.num_rows == 0


def test_keys_that_are_ids() -> None:
    """All lines have other keys; memory does not grow with their number, and no declared key is missed."""
    lines = [json.dumps({f"k{n}": n, "a": n}) for n in range(MOST_OTHERS + 500)]
    rows = batch(*lines, '{"b": 1}').select([FILE, TEXT])
    (some,) = find_kinds(frozenset("ab"), True, iter([rows]))
    assert some.num_rows == MOST_OTHERS + 2
    (declared,) = find_kinds(frozenset("ab"), False, iter([rows]))
    assert {row["key"] for row in declared.to_pylist()} == {"a", "b"}


def test_the_texts_of_a_line() -> None:
    lines = {
        '{"ID": 1.10, "x": "a"}': ("1.10", "a", None),
        '{"x": {"k": [1.0, "ä", true, null]}}': (None, '{"k":[1.0,"ä",true,null]}', None),
        '{"ID": NaN, "x": false}': ("NaN", "false", None),
        '{"x": NaN}': (None, None, "column 'x': NaN is not JSON"),
        '{"x": [NaN]}': (None, None, "column 'x': NaN is not JSON"),
        '{"ID": "1"}': (None, None, "column 'id': '1' is a JSON string, expected a number"),
        '{"x": 1, "x": 2}': (None, None, "a key occurs twice in an object"),
        '{"\\ud800": 2}': (None, None, "half a character in a key"),
        '{"x": "\\udfff"}': (None, None, "column 'x': half a character"),
        '{"x": "\\u0000"}': (None, None, "column 'x': a NUL character"),
        '{"x": 1} 2': (None, None, "the line is not one JSON object: extra data at character 10"),
        "true": (None, None, "the line is not one JSON object: boolean"),
        "[" * 100_000: (None, None, "the line is not one JSON object: nested too deeply"),
        "known": (None, None, "bytes that are not UTF-8"),
    }
    reasons = tuple("bytes that are not UTF-8" if line == "known" else None for line in lines)
    (found,) = parse_lines(KEYS, FITTING, {}, iter([batch(*lines, reasons=reasons)]))
    got = {row[TEXT]: (row["#text of id"], row["#text of x"], row[REASON]) for row in found.to_pylist()}
    assert got == lines
