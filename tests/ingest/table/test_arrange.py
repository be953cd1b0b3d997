"""The arrangement: one order, whatever the partitions and cores that rows came from."""

from typing import TYPE_CHECKING

import pytest
from pyspark.sql import functions as F

from ingest.cleaning.flow import DROPPED, Flow, is_kept
from ingest.spark.columns import quoted
from ingest.table import arrange as arranging
from ingest.table.arrange import HASH, arrange, partitions_for
from millrace.config.sections.ingest import Ingest
from millrace.errors import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark

INGEST = Ingest(base="things", key=("id",))


def test_partitions() -> None:
    assert [partitions_for(rows) for rows in (0, 1, 250_000, 250_001, 1_000_000)] == [1, 1, 1, 2, 4]


def parts(frame: "DataFrame") -> list[list[tuple[str, int, int]]]:
    """Split, hash and id of the rows of each partition, in their order."""
    rows = frame.where(is_kept()).select(F.spark_partition_id(), "split", quoted(HASH), "id").collect()
    found: dict[int, list[tuple[str, int, int]]] = {}
    for part, *row in rows:
        found.setdefault(part, []).append((row[0], row[1], row[2]))
    return [found[part] for part in sorted(found)]


def test_rows_lie_in_one_order(spark: "SparkSession", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arranging, "ROWS_PER_PARTITION", 100)
    few, many = spark.range(0, 300, 1, 1), spark.range(0, 300, 1, 7).orderBy(F.col("id").desc())
    first = parts(arrange(Flow.start(few).frame, INGEST, 300))
    assert first == parts(arrange(Flow.start(many).frame, INGEST, 300))
    assert len(first) == 3
    assert all(part == sorted(part) for part in first)
    assert sorted(row[2] for part in first for row in part) == list(range(300))


def test_dropped_rows_without_a_key_are_spread(spark: "SparkSession") -> None:
    frame = spark.range(100).select(F.col("id").alias("other"), F.lit(None).cast("bigint").alias("id"))
    arranged = arrange(frame.withColumn(DROPPED, F.lit("gone")), INGEST, 100)
    assert arranged.select(quoted(HASH)).distinct().count() == 100
    assert arranged.where("split is not null").count() == 0


def test_a_derived_time_that_is_none(spark: "SparkSession") -> None:
    split = {"by": "time", "column": "when", "validation_from": "2024-01-01", "test_from": "2024-02-01"}
    ingest = Ingest.model_validate({"base": "things", "key": ["id"], "split": split})
    with pytest.raises(ConfigError, match="when is a string, expected a date or timestamp"):
        arrange(Flow.start(spark.sql("SELECT 1 AS id, '2024-01-01' AS when")).frame, ingest, 1)
