"""Rejects: each has its file and its reason, and a line that is too long never reaches Spark."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ingest.staging import lines
from tests.ingest.small import HEADER, Small, csv, load

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.mark.spark
def test_a_line_that_is_too_long(
    spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 3 << 20)
    long = "7," + "x" * (4 << 20)
    data = csv(HEADER, "1,a,1,1", long, "2,b,2,2", long)
    small = Small(tmp_path).source(data).source(csv(HEADER, "x,a,1,1"), file="b.csv")
    small.sources["things"]["path"] = ["things.csv", "b.csv"]
    small.ingest["max_rejected"] = 1
    source = load(small, spark, stack)["things"]
    assert (source.rows, source.rejected) == (5, 3)
    assert sorted(row["id"] for row in source.frame.collect()) == [1, 2]
    assert source.rejects is not None
    found = sorted(
        (Path(r["source_file"]).name, r["line"], r["reason"], len(r["record"])) for r in source.rejects.collect()
    )
    assert found == [
        ("b.csv", 2, "column 'id': 'x' is not of type bigint", 7),
        ("things.csv", 3, "longer than 16 MiB", 200),
        ("things.csv", 5, "longer than 16 MiB", 200),
    ]
