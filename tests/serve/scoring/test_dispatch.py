"""Tasks through Spark."""

import logging
from typing import TYPE_CHECKING, Any

import pytest

from millrace import progress
from serve.errors import ScoringFailed
from serve.scoring import dispatch
from serve.scoring.batches import _written_schema
from serve.scoring.dispatch import run_on_spark, spark_cores

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


class Tasks:
    """A job that `count_tasks` takes."""

    def __init__(self, count: int) -> None:
        self.tasks = ((),) * count


def count_tasks(job: Any, batches: Any) -> Any:
    """In place of scoring: says how many tasks came in one partition."""
    import pyarrow as pa

    for batch in batches:
        numbers = batch.column(0).to_pylist()
        if len(job.tasks) == 3:
            raise ValueError("there are 3")
        row = {
            "path": str(numbers[0]),
            "size": len(numbers),
            "rows": len(job.tasks),
            "rejected": 0,
            "failure": "",
            "kind": "",
        }
        yield pa.RecordBatch.from_pylist([row], _written_schema())


def test_each_task_has_a_partition_of_its_own(
    spark: "SparkSession", monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dispatch, "run_tasks", count_tasks)
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    with caplog.at_level(logging.INFO, logger="millrace"):
        written = run_on_spark(spark, Tasks(7))  # type: ignore[arg-type] # a stand-in
    assert sorted((w.path, w.size, w.rows) for w in written) == [(str(n), 1, 7) for n in range(7)]
    assert "scoring, in tasks: 7 of 7" in caplog.text


def test_a_task_that_raises_ends_the_job_with_its_own_words(
    spark: "SparkSession", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "run_tasks", count_tasks)
    with pytest.raises(ScoringFailed, match="Spark did not finish: ValueError: there are 3"):
        run_on_spark(spark, Tasks(3))  # type: ignore[arg-type] # a stand-in


def test_counts_the_sessions_cores(spark: "SparkSession") -> None:
    assert spark_cores(spark) == 2
