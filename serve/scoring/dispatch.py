"""Runs the tasks of a scoring job on Spark, and shows the progress."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from millrace.errors import shorten
from millrace.progress import progress
from serve.errors import ScoringFailed
from serve.scoring.batches import WRITTEN_DDL, Job, Written, run_tasks

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

POLL_S: Final = 0.5
SPARK_MODULES: Final = ("pyspark", "py4j")
"""The packages of Spark's exceptions. This package does not import Spark, so it cannot name their classes."""


def spark_cores(spark: "SparkSession") -> int:
    """How many tasks Spark runs at the same time."""
    return max(1, spark.sparkContext.defaultParallelism)


def run_on_spark(spark: "SparkSession", job: Job) -> list[Written]:
    """Run each task of a job in a Spark task.

    Raises:
        ScoringFailed: The Spark job failed.
    """
    count = len(job.tasks)
    try:
        with progress("scoring, in tasks", count) as show, _watched(spark, show):
            # A range of as many partitions as numbers has exactly one in each; a repartition does not promise that.
            frame = spark.range(0, count, 1, count).mapInArrow(functools.partial(run_tasks, job), WRITTEN_DDL)
            written = [Written(**row.asDict()) for row in frame.collect()]
            show(count)
        return written
    except Exception as error:
        if not type(error).__module__.startswith(SPARK_MODULES):
            raise
        raise ScoringFailed(_reason(error)) from error


def _reason(error: Exception) -> str:
    """The line of a worker's stack that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    errors = [line for line in lines if "Error: " in line or "Exception: " in line or "Damaged: " in line]
    return shorten((errors or lines)[-1], 400)


@contextlib.contextmanager
def _watched(spark: "SparkSession", show: Callable[[int], None]) -> Iterator[None]:
    """Call a function with the number of finished tasks, now and then, while the body runs."""
    done = threading.Event()
    tracker = spark.sparkContext.statusTracker()

    def watch() -> None:
        while not done.wait(POLL_S):
            stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
            show(sum(stage.numCompletedTasks for stage in stages if stage))

    watcher = threading.Thread(target=watch, name="progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
