"""The session's settings, as Spark has them."""

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from millrace.config.sections.profile import Spark
from pipelines.jobs.session import ROW_GROUP_ROWS, SETTINGS, build_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.mark.spark
def test_spark_has_every_setting(spark: "SparkSession") -> None:
    context = dict(spark.sparkContext.getConf().getAll())
    assert {key: context.get(key) for key in SETTINGS} == SETTINGS
    assert spark.conf.get("spark.sql.session.timeZone") == "UTC"


@pytest.mark.spark
def test_a_second_session_is_the_first(spark: "SparkSession") -> None:
    assert build_session(Spark(), app_name="again").sparkContext is spark.sparkContext


def test_what_must_hold_of_every_table() -> None:
    assert SETTINGS["spark.hadoop.parquet.page.write-checksum.enabled"] == "true"
    assert SETTINGS["spark.hadoop.parquet.block.row.count.limit"] == str(ROW_GROUP_ROWS)


@pytest.mark.spark
def test_workers_run_the_python_that_the_profile_names() -> None:
    """In a process of its own: a context reads it once."""
    code = (
        "from millrace.config.sections.profile import Spark\n"
        "from pipelines.jobs.session import build_session\n"
        "conf = {'spark.pyspark.python': './environment/bin/python'}\n"
        "print(build_session(Spark(master='local[1]', conf=conf), app_name='python').sparkContext.pythonExec)\n"
    )
    env = {**os.environ, "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "./environment/bin/python"
