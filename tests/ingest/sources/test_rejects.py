"""Rejects: each has its file, line and reason, however Spark splits the files and however often a text is repeated."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ingest.staging import lines
from tests.ingest.small import HEADER, Small, csv, gzipped, load

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.mark.spark
def test_every_reject_has_its_line(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    good = [f"{n},name,1,1" for n in range(2_000)]
    lines = [*good[:5], "x,bad,1,1", "", *good[5:1_900], "x,bad,1,1", HEADER, *good[1_900:], "y,\ufeff,1,1", ""]
    expected = [
        (7, "column 'id': 'x' is not of type bigint"),
        (8, "blank line"),
        (1_904, "column 'id': 'x' is not of type bigint"),
        (1_905, "repeats the header"),
        (2_006, "column 'id': 'y' is not of type bigint"),
        (2_007, "blank line"),
    ]
    spark.conf.set("spark.sql.files.maxPartitionBytes", "8k")
    small = Small(tmp_path).source(b"\xef\xbb\xbf" + csv(HEADER, *lines, end="\r\n"))
    small.source(gzipped(csv(HEADER, "z,bad,1,1")), file="b.csv")
    small.sources["things"]["path"] = ["things.csv", "b.csv"]
    try:
        source = load(small, spark, stack)["things"]
        assert source.rejects is not None
        rows = source.rejects.collect()
    finally:
        spark.conf.unset("spark.sql.files.maxPartitionBytes")
    assert sorted((r["line"], r["reason"]) for r in rows if r["source_file"].endswith("things.csv")) == expected
    assert [(r["line"], r["record"]) for r in rows if r["source_file"].endswith("b.csv")] == [(2, "z,bad,1,1")]


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
