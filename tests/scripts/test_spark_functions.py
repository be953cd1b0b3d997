"""The shipped list of Spark's functions is that of the installed Spark."""

import json
from typing import TYPE_CHECKING

import pytest

from scripts.spark_functions import CLOCKS, TARGET, find_names, is_deterministic

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.mark.spark
@pytest.mark.case("F8")
def test_the_list_is_current(spark: "SparkSession") -> None:
    shipped, hint = json.loads(TARGET.read_text(encoding="utf-8")), "run: python scripts/spark_functions.py"
    assert (shipped["version"], shipped["names"]) == (spark.version, find_names(spark)), hint
    changing = [name for name in shipped["changing"] if name not in CLOCKS]
    assert [name for name in changing if is_deterministic(spark, name)] == []
    assert {"rand", "uuid", "monotonically_increasing_id", *CLOCKS} <= set(shipped["changing"])
    assert {"sum", "coalesce", "cast", "datediff"} <= set(shipped["names"])
    assert not {"sum", "unix_timestamp", "xxhash64"} & set(shipped["changing"])
