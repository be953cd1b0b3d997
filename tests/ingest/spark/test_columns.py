"""Names and expressions that every room uses."""

from typing import TYPE_CHECKING

import pytest

from ingest.spark.columns import ddl, floats_of, not_finite_reason, quoted

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
