"""The fast sort, and the order that lasts through joins."""

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F

from ingest.spark.ordered import is_in_order, keeping_order, sort_by

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark

EXCLUDED = "spark.sql.optimizer.excludedRules"
SHUFFLES = "spark.databricks.delta.optimizeWrite.enabled"


def sorted_frame(spark: "SparkSession") -> "DataFrame":
    """300 rows in two partitions, in the order of `place`, and so of `name`, with nulls first."""
    rows = spark.range(0, 300, 1, 3).selectExpr("id", "if(id % 10 = 9, null, (id * 7919) % 300) AS place")
    name = F.when(F.col("place") < 100, "a").when(F.col("place") < 200, "b").when(F.col("place").isNotNull(), "c")
    return sort_by(rows.withColumn("name", name).repartition(2, "id"), "place", "name")


def joined(spark: "SparkSession") -> "DataFrame":
    other = spark.range(5).selectExpr("id AS other_id", "concat('x', id) AS text")
    return sorted_frame(spark).join(other, F.col("id") % 5 == F.col("other_id"), "left").drop("other_id")


def test_rows_are_sorted_with_nulls_first(spark: "SparkSession") -> None:
    with keeping_order(spark):
        rows = sorted_frame(spark).select(F.spark_partition_id().alias("part"), "place", "name").collect()
    for part in (0, 1):
        places = [-1 if row["place"] is None else row["place"] for row in rows if row["part"] == part]
        assert places == sorted(places)
        assert len(places) > 100
    assert len(rows) == 300


def test_the_order_lasts_through_a_join_and_no_writer_sorts_again(spark: "SparkSession", tmp_path: Path) -> None:
    with keeping_order(spark):
        frame = joined(spark)
        assert is_in_order(frame, "name")
        assert is_in_order(frame.drop("place"), "name")
        assert not is_in_order(frame, "id")
        frame.write.partitionBy("name").parquet(str(tmp_path / "out"))
    files = sorted((tmp_path / "out").rglob("*.parquet"))
    assert len(files) == 8  # three names and null, two partitions
    places = [pq.ParquetFile(file).read()["place"].to_pylist() for file in files]
    assert all(each == sorted(each) for each in places if None not in each)
    assert sum(map(len, places)) == 300


def test_an_order_that_is_lost_is_noticed(spark: "SparkSession") -> None:
    assert not is_in_order(joined(spark), "name")  # Spark removes the sort
    with keeping_order(spark):
        assert not is_in_order(sorted_frame(spark).repartition(2), "name")
        assert not is_in_order(spark.range(5).withColumn("name", F.lit("a")), "name")
        for way in ("merge", "shuffle_hash"):  # both shuffle rows, and the second one keeps the order of its input
            other = spark.range(9).withColumnRenamed("id", "place").hint(way)
            assert not is_in_order(joined(spark).join(other, "place", "left"), "name")
        other = spark.range(9).selectExpr("cast(id AS string) AS text").hint("merge")
        assert not is_in_order(joined(spark).join(other, F.col("id").cast("string") == other["text"], "left"), "name")


def test_delta_does_not_shuffle_rows(spark: "SparkSession", tmp_path: Path) -> None:
    spark.conf.set(SHUFFLES, "true")
    try:
        with keeping_order(spark):
            assert spark.conf.get(SHUFFLES) == "false"
            joined(spark).write.format("delta").partitionBy("name").save(str(tmp_path / "out"))
        assert spark.conf.get(SHUFFLES) == "true"
    finally:
        spark.conf.unset(SHUFFLES)
    files = list((tmp_path / "out").rglob("name=*/*.parquet"))
    assert len(files) == 8
    places = [pq.ParquetFile(file).read()["place"].to_pylist() for file in files]
    assert all(each == sorted(each) for each in places if None not in each)


@pytest.mark.parametrize("before", ["", "org.apache.spark.sql.catalyst.optimizer.LimitPushDown"])
def test_the_rules_of_the_session_come_back(spark: "SparkSession", before: str) -> None:
    if before:
        spark.conf.set(EXCLUDED, before)
    try:
        with pytest.raises(ValueError, match="an error"), keeping_order(spark):
            assert str(spark.conf.get(EXCLUDED)).startswith(before)
            raise ValueError("an error")
        assert spark.conf.get(EXCLUDED, "") == before
    finally:
        spark.conf.unset(EXCLUDED)
