"""The flow: dropped rows stay until they are counted."""

import contextlib
from typing import TYPE_CHECKING

import pytest
from pyspark.sql import functions as F

from ingest.cleaning.flow import DROPPED, NOT_FINITE, Flow, add, is_kept
from ingest.spark.columns import quoted

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


def test_add() -> None:
    assert add({"a": 1, "b": 2}, {"b": 3, "c": 4}) == {"a": 1, "b": 5, "c": 4}


def test_settle_counts_and_forgets(spark: "SparkSession") -> None:
    flow = Flow.start(spark.range(10).toDF("id"))
    mark = F.expr(f"CASE WHEN id < 3 THEN 'low' WHEN id = 9 THEN 'high' ELSE {quoted(DROPPED)} END")
    flow = flow.with_frame(flow.frame.withColumn(DROPPED, mark), "low", "high").with_frame(flow.frame, "never")
    flow = flow.with_frame(flow.frame.withColumn(DROPPED, mark))
    assert (flow.columns, flow.filters, flow.kept.count()) == (["id"], ("low", "high", "never"), 6)
    with contextlib.ExitStack() as stack:
        settled = flow.settle(stack)
        assert (settled.filters, settled.filtered) == ((), {"low": 3, "high": 1, "never": 0})
        assert settled.frame.where(is_kept()).count() == settled.frame.count() == 6
        assert settled.settle(stack) is settled


def test_what_is_not_finite_becomes_null_and_is_counted(spark: "SparkSession") -> None:
    """One NaN in a million would make every average NaN."""
    spoilt = "CASE WHEN id = 123 THEN double('NaN') WHEN id = 124 THEN double('-inf') ELSE id % 10 END AS x"
    flow = Flow.start(spark.range(1_000_000).selectExpr("id", spoilt, "float('inf') AS y", "id AS n")).finite(
        "x", "y", "n"
    )
    assert (flow.columns, flow.floats) == (["id", "x", "y", "n"], ("x", "y"))
    with contextlib.ExitStack() as stack:
        settled = flow.settle(stack)
        assert settled.not_finite == {"x": 2, "y": 1_000_000}
        figures = settled.kept.selectExpr("avg(x)", "max(x)", "count(x)", "count(y)").collect()[0]
        assert figures[0] == pytest.approx(4.5, abs=1e-4)
        assert tuple(figures)[1:] == (9.0, 999_998, 0)
        assert (settled.floats, NOT_FINITE in settled.frame.columns) == ((), False)


def test_a_column_that_is_computed_twice_is_counted_once(spark: "SparkSession") -> None:
    flow = Flow.start(spark.sql("SELECT double('NaN') AS x, 'inf' AS name"))
    for _ in range(2):
        flow = flow.with_frame(flow.frame.withColumn("x", F.lit(float("inf")))).finite("x")
    with contextlib.ExitStack() as stack:
        assert flow.settle(stack).not_finite == {"x": 1}
