"""The only place that builds a SparkSession."""

import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from millrace.config.sections.profile import Spark
from millrace.errors import Unavailable

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROW_GROUP_ROWS: Final = 65_536
"""Rows of a Parquet row group, so that a range of rows is read without decoding a whole file."""

SETTINGS: Final = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # Without this, Spark misses a malformed value in a column that no query selects.
    "spark.sql.csv.parser.columnPruning.enabled": "false",
    # A second attempt of a slow task may commit beside the first.
    "spark.speculation": "false",
    # Verification is off by default: of 75 single-bit flips, 60 gave a wrong result without an error.
    "spark.hadoop.parquet.page.write-checksum.enabled": "true",
    "spark.hadoop.parquet.page.verify-checksum.enabled": "true",
    "spark.hadoop.parquet.block.row.count.limit": str(ROW_GROUP_ROWS),
    # Frames are kept for one stage and read a few times: compressing them takes a third of ingest's time.
    "spark.sql.inMemoryColumnarStorage.compressed": "false",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "65536",
    # How long to wait for a NameNode that restarts; without these two, ten seconds.
    "spark.hadoop.dfs.client.retry.policy.enabled": "true",
    "spark.hadoop.dfs.client.retry.policy.spec": "1000,20,5000,60,10000,25",
    # The place in Python of each column: only for error messages, and half of the calls to the JVM.
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    "spark.ui.enabled": "false",
    "spark.python.worker.reuse": "true",
    "spark.python.worker.faulthandler.enabled": "true",
}


def build_session(section: Spark, *, app_name: str) -> "SparkSession":
    """Start Spark, or join the session that spark-submit started.

    Raises:
        Unavailable: Spark did not start.
    """
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    # PySpark reads this setting only under spark-submit, where it takes precedence over the variable too.
    python = section.conf.get("spark.pyspark.python") or os.environ.get("PYSPARK_PYTHON") or sys.executable
    os.environ["PYSPARK_PYTHON"] = str(python)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    # PySpark logs each failed query with its plan and Java's stack, which quote values; our errors say what failed.
    for name in ("DataFrameQueryContextLogger", "SQLQueryContextLogger"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    builder = SparkSession.builder.appName(app_name)
    under_submit = "PYSPARK_GATEWAY_PORT" in os.environ
    if not under_submit:
        builder = builder.master(section.master).config("spark.driver.memory", section.driver_memory)
    settings: dict[str, str | int | float | bool] = {
        **SETTINGS,
        "spark.sql.shuffle.partitions": str(os.cpu_count() or 2),
        "spark.ui.showConsoleProgress": "true" if sys.stderr.isatty() else "false",
        "spark.sql.warehouse.dir": "/tmp/millrace-warehouse",  # noqa: S108 - never written: tables have paths
        **section.conf,
    }
    for key, value in settings.items():
        builder = builder.config(key, str(value).lower() if isinstance(value, bool) else str(value))
    try:
        return builder.getOrCreate()
    except (PySparkException, OSError) as error:
        raise Unavailable(
            f"Spark did not start: {error}",
            hint="is Java 17 or newer installed, and the master up?",
        ) from error


def failed_tasks(spark: "SparkSession") -> int:
    """Count the tasks that failed so far, by lost executors, killed workers or bad disks. Spark retries them."""
    context: Any = spark.sparkContext
    gateway = context._gateway
    stages = (
        context._jsc.sc().statusStore().stageList(None, False, False, gateway.new_array(gateway.jvm.double, 0), None)
    )
    return sum(int(stages.apply(number).numFailedTasks()) for number in range(stages.size()))
