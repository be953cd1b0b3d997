"""The split: a row's place depends on its key alone, for ever."""

from typing import TYPE_CHECKING, Any

import pytest
from pyspark.sql import functions as F

from ingest.spark.columns import hash_of
from ingest.table.split import split_of
from millrace.config.sections.ingest import HashSplit, TimeSplit

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark


def splits(frame: "DataFrame", *key: str, **shares: float) -> list[str]:
    return [row[0] for row in frame.select(split_of(HashSplit(**shares), hash_of(key))).collect()]


def test_the_same_row_falls_in_the_same_split_for_ever(spark: "SparkSession") -> None:
    """Values written down: if they change, every table that was ever split has been split anew."""
    frame = spark.sql("SELECT * FROM VALUES (1, 'a'), (2, NULL), (3, ''), (4, 'ä') AS t(id, name)")
    found = [row[0] for row in frame.select(hash_of(("id", "name"))).collect()]
    assert found == [-5766377409872611437, -4778338791623509917, -2150298333166617918, 1029316910711337364]


def test_other_columns_and_wider_types_change_nothing(spark: "SparkSession") -> None:
    frame = spark.range(500).select(F.col("id").cast("int").alias("id"))
    first = splits(frame, "id")
    wider = frame.select(F.col("id").cast("bigint"), F.lit("more").alias("more"))
    assert splits(wider, "id") == first
    assert {name: first.count(name) for name in set(first)} == pytest.approx(
        {"train": 400, "validation": 50, "test": 50}, abs=25
    )


def test_the_test_split_does_not_depend_on_the_validation_share(spark: "SparkSession") -> None:
    frame = spark.range(300)
    few, many = splits(frame, "id", validation=0), splits(frame, "id", validation=0.5)
    assert [n for n, s in enumerate(few) if s == "test"] == [n for n, s in enumerate(many) if s == "test"]
    assert "validation" not in few


def test_nulls_and_order_count(spark: "SparkSession") -> None:
    frame = spark.sql("SELECT * FROM VALUES (NULL, 'a'), ('a', NULL), ('-', 'a'), ('a', 'a'), ('', 'a') AS t(x, y)")
    assert len({row[0] for row in frame.select(hash_of(("x", "y"))).collect()}) == 5


def by_time(frame: "DataFrame", **more: Any) -> list[str]:
    section = TimeSplit(by="time", column="t", **more)
    return [row[0] for row in frame.select(split_of(section, F.lit(0))).collect()]


@pytest.mark.parametrize("type_name", ["timestamp", "date"])
def test_by_time_in_utc(spark: "SparkSession", type_name: str) -> None:
    days = ["2024-01-01", "2024-02-01", "2024-02-02", "2024-03-01", None]
    frame = spark.sql("SELECT explode(array(" + ",".join(f"'{d}'" if d else "NULL" for d in days) + ")) AS t")
    found = by_time(frame.select(F.col("t").cast(type_name)), validation_from="2024-02-02", test_from="2024-03-01")
    assert found == ["train", "train", "validation", "test", None]


def test_a_moment_with_a_zone(spark: "SparkSession") -> None:
    frame = spark.sql("SELECT timestamp'2024-01-31 23:30:00' AS t")
    assert by_time(frame, validation_from="2024-02-01T00:00:00+01:00", test_from="2024-03-01") == ["validation"]
