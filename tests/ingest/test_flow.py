"""The flow: dropped rows stay until they are counted."""

import contextlib
from typing import TYPE_CHECKING

import pytest
from pyspark.sql import functions as F

from ingest.delimited import quoted
from ingest.flow import DROPPED, Flow, add, is_kept

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
