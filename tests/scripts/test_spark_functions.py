"""The shipped list of Spark's functions is that of the installed Spark."""

import json
from typing import TYPE_CHECKING

import pytest

from millrace.config.checks.sql import check_row
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


@pytest.mark.spark
def test_no_function_of_one_row_is_taken_for_an_aggregate(spark: "SparkSession") -> None:
    """An expression with an aggregate function is refused where one row is meant."""
    registry = spark._jsparkSession.sessionState().functionRegistry()  # type: ignore[attr-defined]
    found = registry.listFunction()
    groups = {}
    for number in range(found.size()):
        information = registry.lookupFunction(found.apply(number)).get()
        groups[information.getName()] = information.getGroup()
    assert len(groups) > 300
    many = {"agg_funcs", "window_funcs"}
    taken = {name for name in find_names(spark) for args in ("x", "x, 1") if check_row(f"{name}({args})")}
    assert {name: groups.get(name) for name in taken if groups.get(name) not in many} == {}
    assert {"sum", "count", "max", "collect_list", "percentile"} <= taken
