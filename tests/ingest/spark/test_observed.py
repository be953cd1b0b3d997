"""Figures of a job that passes rows on: there after the job, and not mistaken for those of another one."""

from typing import TYPE_CHECKING

import pytest
from pyspark.sql import functions as F

from ingest.spark.observed import Observed

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


def test_figures_come_with_the_job(spark: "SparkSession", tmp_path: "Path") -> None:
    figures = {"rows": F.count(F.lit(1)), "even": F.count_if(F.col("id") % 2 == 0), "last": F.max("id")}
    observed = Observed(spark.range(101), figures)
    observed.frame.where("id > 5").write.parquet(str(tmp_path / "out"))
    assert observed.get() == {"rows": 101, "even": 51, "last": 100} == observed.count("the test")


def test_a_plan_without_rows_has_no_figures_or_right_ones(spark: "SparkSession", tmp_path: "Path") -> None:
    observed = Observed(spark.range(0), {"rows": F.count(F.lit(1))})
    observed.frame.write.parquet(str(tmp_path / "out"))
    assert observed.get() in (None, {"rows": 0})
    assert observed.count("the test") == {"rows": 0}


def test_a_job_that_fails_gives_no_figures(spark: "SparkSession", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.spark.observed._WAIT_S", 0.1)
    observed = Observed(spark.range(3), {"rows": F.count(F.lit(1))})
    with pytest.raises(Exception, match="on purpose"):
        observed.frame.select(F.raise_error(F.lit("on purpose"))).collect()
    assert observed.get() in (None, {"rows": 0})
    assert observed.count("the test") == {"rows": 3}
