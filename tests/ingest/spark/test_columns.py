"""Column names in SQL, and the conditions and hashes that all of ingest uses."""

from typing import TYPE_CHECKING

import pytest
from pyspark.sql import functions as F

from ingest.spark.columns import ddl, floats_of, is_not_finite, not_finite_reason, quoted

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_names() -> None:
    assert quoted("a`b") == "`a``b`"
    assert ddl({"a": "int", "#b": "string"}) == "`a` int, `#b` string"
    assert floats_of({"a": "float", "b": "int", "c": "double"}) == ["a", "c"]


@pytest.mark.spark
def test_the_column_that_is_not_finite(spark: "SparkSession") -> None:
    frame = spark.sql("SELECT * FROM VALUES (1D, 0F), (double('NaN'), 1F), (NULL, float('-inf')) AS t(a, b)")
    found = [row[0] for row in frame.select(not_finite_reason({"a": "double", "b": "float"})).collect()]
    assert found == [None, "column 'a': 'NaN' is not a finite number", "column 'b': '-Infinity' is not a finite number"]


@pytest.mark.spark
def test_null_counts_as_finite(spark: "SparkSession") -> None:
    """The negation of a null condition is null, and would drop the row from both cases."""
    frame = spark.sql("SELECT * FROM VALUES (1D), (double('NaN')), (double('-inf')), (NULL) AS t(a)")
    found = [tuple(row) for row in frame.select(is_not_finite(F.col("a")), ~is_not_finite(F.col("a"))).collect()]
    assert found == [(False, True), (True, False), (True, False), (False, True)]
