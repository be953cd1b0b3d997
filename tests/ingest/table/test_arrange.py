"""The arrangement: one order, whatever the partitions and cores that rows came from."""

from typing import TYPE_CHECKING, Any

import pytest
from pyspark.sql import functions as F

from ingest.cleaning.flow import DROPPED, Flow
from ingest.spark.columns import hash_of, quoted
from ingest.table.arrange import HASH, arrange, arrange_again, can_arrange_first, partitions_for, with_split
from millrace.config.sections.ingest import Ingest
from millrace.errors import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark

INGEST = Ingest(base="things", key=("id",))
JOIN = {"join": {"source": "kinds", "on": {"name": "kind"}, "columns": {"title": "title"}}}


def test_partitions() -> None:
    assert [partitions_for(rows) for rows in (0, 1, 250_000, 250_001, 1_000_000)] == [1, 1, 1, 2, 4]


def parts(frame: "DataFrame") -> list[list[tuple[str, int, int]]]:
    """Split, hash and id of the rows of each partition, in their order."""
    rows = frame.select(F.spark_partition_id(), "split", hash_of(["id"]), "id").collect()
    found: dict[int, list[tuple[str, int, int]]] = {}
    for part, *row in rows:
        found.setdefault(part, []).append((row[0], row[1], row[2]))
    return [found[part] for part in sorted(found)]


def arranged(frame: "DataFrame") -> "DataFrame":
    return arrange(with_split(Flow.start(frame).frame, INGEST).drop(DROPPED), 3)


def test_rows_lie_in_one_order(spark: "SparkSession") -> None:
    few, many = spark.range(0, 300, 1, 1), spark.range(0, 300, 1, 7).orderBy(F.col("id").desc())
    first = parts(arranged(few))
    assert first == parts(arranged(many)) == parts(arrange_again(arranged(many).repartition(5), ["id"], 3))
    assert len(first) == 3
    assert all(part == sorted(part) for part in first)
    assert sorted(row[2] for part in first for row in part) == list(range(300))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([JOIN], True),
        ([JOIN, {"derive": {"more": "id + 1"}}, {"filter": {"name": "few", "keep": "more < 5"}}], True),
        ([], False),
        ([JOIN, {"derive": {"id": "id + 1"}}], False),
        ([{"rename": {"number": "id"}}, JOIN, {"derive": {"id": "number + 1"}}], False),
        ([JOIN, {"rename": {"id": "time", "time": "id"}}], False),
        ([JOIN, {"drop": ["time"]}], False),
        ([JOIN, {"call": {"function": "tests.ingest.functions:shout"}}], False),
        ([JOIN, {"dedupe": {"by": ["name"]}}], False),
        ([JOIN, {"aggregate": {"by": ["id", "time"], "columns": {"n": "count(*)"}}}], False),
    ],
)
def test_when_rows_may_be_arranged_before_the_steps(steps: list[dict[str, Any]], expected: bool) -> None:
    split = {"by": "time", "column": "time", "validation_from": "2024-01-01", "test_from": "2024-02-01"}
    ingest = Ingest.model_validate({"base": "things", "key": ["id"], "split": split, "steps": steps})
    assert can_arrange_first(ingest, ["id", "time", "name"]) == expected
    assert not can_arrange_first(ingest, ["id", "name"])


def test_dropped_rows_have_no_split(spark: "SparkSession") -> None:
    frame = spark.range(100).select(F.col("id").alias("other"), F.lit(None).cast("bigint").alias("id"))
    marked = with_split(frame.withColumn(DROPPED, F.lit("gone")), INGEST)
    assert marked.where(f"split is null and {quoted(HASH)} is null").count() == 100


def test_rows_without_a_key_are_not_all_in_one_partition(spark: "SparkSession") -> None:
    """A step may drop them later."""
    frame = spark.range(900).select(F.col("id").alias("other"), F.lit(None).cast("bigint").alias("id"))
    spread = arrange(with_split(frame, INGEST, is_marked=False), 3).groupBy(F.spark_partition_id()).count().collect()
    assert len(spread) == 3
    assert max(row[1] for row in spread) < 400


def test_a_derived_time_that_is_none(spark: "SparkSession") -> None:
    split = {"by": "time", "column": "when", "validation_from": "2024-01-01", "test_from": "2024-02-01"}
    ingest = Ingest.model_validate({"base": "things", "key": ["id"], "split": split})
    with pytest.raises(ConfigError, match="when is a string, expected a date or timestamp"):
        with_split(Flow.start(spark.sql("SELECT 1 AS id, '2024-01-01' AS when")).frame, ingest)
