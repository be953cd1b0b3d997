"""JSON lines: keys and kinds are compared file by file, values line by line."""

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ingest.errors import ColumnsMismatch
from tests.ingest.small import Small, load

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

GOOD = {"id": 1, "name": "one", "size": 2, "weight": 1.5}


def lines(*rows: dict[str, Any] | str) -> bytes:
    return "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows).encode()


def test_every_line_is_a_row_or_a_reject(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    bad = {
        '{"id": 2, "name": "x", "size": 99999999999, "weight": 1}': "column 'size': '99999999999' is not of type int",
        '{"id": "3", "name": "x", "size": 1, "weight": 1}': "column 'id': '3' is a JSON string, expected a number",
        '{"id": 4, "name": "x", "size": 1, "weight": 1e400}': "column 'weight': '1e400' is not a finite number",
        '{"id": 5': "the line is not one JSON object: expecting ',' delimiter at character 9",
        "[1, 2]": "the line is not one JSON object: array",
        "": "blank line",
    }
    reordered = {"weight": None, "size": None, "name": {"a": [1]}, "id": 9}
    small = Small(tmp_path).source(lines(GOOD, *bad, reordered, GOOD), format="json")
    small.ingest["max_rejected"] = 1
    source = load(small, spark, stack)["things"]
    assert (source.rows, source.rejected) == (9, 6)
    assert source.rejects is not None
    assert {row["record"]: row["reason"] for row in source.rejects.collect()} == bad
    assert sorted(map(tuple, source.frame.collect()), key=str) == [
        (1, "one", 2, 1.5), (1, "one", 2, 1.5), (9, '{"a":[1]}', None, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": 1, "name": "x", "weight": 1}, "column 'size' is missing, expected int"),
        ({**GOOD, "colour": "red"}, "column 'colour' is not declared, found string"),
        ({**GOOD, "size": "two"}, "column 'size': expected int, found string"),
        ({**GOOD, "size": True}, "column 'size': expected int, found boolean"),
    ],
)
def test_one_file_with_other_columns(
    spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack, row: dict[str, Any], message: str
) -> None:
    small = Small(tmp_path).source(lines(GOOD), file="a.json", format="json")
    small.source(lines(row, row), file="b.json", format="json")
    small.sources["things"]["path"] = ["a.json", "b.json"]
    with pytest.raises(ColumnsMismatch, match=rf"b\.json: {message}"):
        load(small, spark, stack)


def test_columns_that_may_lack_and_columns_too_many(
    spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack
) -> None:
    row = {"id": 1, "name": "x", "size": None, "more": 1}
    small = Small(tmp_path).source(lines(row), format="json", optional=["weight"], extra_columns="drop")
    assert [tuple(row) for row in load(small, spark, stack)["things"].frame.collect()] == [(1, "x", None, None)]
