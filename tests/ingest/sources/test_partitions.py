"""Columns in the names of folders are declared like all others; a value that does not fit rejects its rows."""

import contextlib
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ingest.errors import HeaderMismatch
from tests.ingest.small import HEADER, Small, csv, load, things

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

COLUMNS = {"day": "date", "id": "bigint", "name": "string", "size": "int", "weight": "double"}


def test_days(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    small = Small(tmp_path)
    for folder, rows in (("2024-01-01", 3), ("2024-01-02", 2), ("nonsense", 1), ("__HIVE_DEFAULT_PARTITION__", 1)):
        small.source(things(rows), file=f"in/day={folder}/part.csv", columns=COLUMNS)
    small.sources["things"]["path"] = "in/day=*/*.csv"
    small.ingest["max_rejected"] = 0.5
    source = load(small, spark, stack)["things"]
    assert source.frame.columns == list(COLUMNS)
    days = [row["day"] for row in source.frame.collect()]
    assert sorted(days, key=str) == [*[date(2024, 1, 1)] * 3, *[date(2024, 1, 2)] * 2, None]
    assert (source.rows, source.rejected) == (7, 1)
    assert source.rejects is not None
    (reject,) = source.rejects.collect()
    assert reject["reason"] == "column 'day': 'nonsense', the name of a folder, is not of type date"
    assert reject["source_file"].endswith("day=nonsense/part.csv")
    assert '"name":"name 0"' in reject["record"]


def test_a_file_outside_the_folders_lacks_the_column(
    spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack
) -> None:
    small = Small(tmp_path).source(csv(HEADER, "1,a,1,1"), file="in/a.csv", columns=COLUMNS)
    with pytest.raises(HeaderMismatch, match=r"in/a\.csv: .*missing 'day'"):
        load(small, spark, stack)
