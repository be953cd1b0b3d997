"""Files that hold their own schema: only a float can be wrong, and then the row is told whole."""

from typing import TYPE_CHECKING

import pytest

from ingest.readers.typed import explained, with_reasons
from ingest.spark.columns import FILE, REASON, RECORD
from ingest.staging.shape import Shape

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.mark.spark
def test_only_what_is_not_finite_is_rejected(spark: "SparkSession") -> None:
    values = "VALUES (1, 1.5D, 'f'), (2, double('-Infinity'), 'f'), (3, NULL, 'f')"
    frame = spark.sql(f"SELECT * FROM {values} AS t(id, weight, `{FILE}`)")  # noqa: S608 - the test's own constants
    frame = with_reasons(frame, Shape({"id": "int", "weight": "double"}))
    (bad,) = explained(frame).collect()
    assert (bad[FILE], bad[REASON]) == ("f", "column 'weight': '-Infinity' is not a finite number")
    assert bad[RECORD] == '{"id":2,"weight":"-Infinity"}'
