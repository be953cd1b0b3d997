"""Formats that store the types of their columns: a new one is a subclass with a single method."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from ingest.readers import Checked
from ingest.readers.raw import rejected_rows
from ingest.readers.typed import FileContent, TypedReader
from ingest.spark.columns import FILE, REASON, RECORD
from ingest.staging.staged_file import StagedFile
from millrace.retry import RetryPolicy
from tests.ingest.small import shape_of

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import DataFrame, SparkSession


class OwnReader(TypedReader):
    """A format that Spark has no reader for."""

    def inspect(self, path: str, retry: RetryPolicy) -> FileContent:
        self.shape.check(path, {"id": "int", "weight": "double"})
        return FileContent(3, ("id", "weight"))

    def load(self, spark: "SparkSession", files: Sequence[StagedFile]) -> "DataFrame":
        values = "VALUES (1, 1.5D, 'f'), (2, double('-Infinity'), 'f'), (3, NULL, 'f')"
        return spark.sql(f"SELECT * FROM {values} AS t(id, weight, `{FILE}`)")  # noqa: S608 - the test's own constants


def test_staging_a_file(tmp_path: "Path") -> None:
    path = tmp_path / "data"
    path.write_bytes(b"x")
    (file,) = OwnReader(shape_of({"id": "int", "weight": "double"})).stage(str(path), str(tmp_path / "staged"))
    assert (file.name, file.file, file.lines.rows) == (str(path), "staged-00000", 3)
    assert (file.columns, file.header) == (("id", "weight"), None)


@pytest.mark.spark
def test_only_what_is_not_finite_is_rejected(spark: "SparkSession") -> None:
    reader = OwnReader(shape_of({"id": "int", "weight": "double"}))
    assert reader.check(spark, []) == Checked()
    frame = reader.read(spark, [])
    assert frame.columns == ["id", "weight", FILE, REASON, RECORD]
    (bad,) = rejected_rows(frame).collect()
    assert (bad[FILE], bad[REASON]) == ("f", "column 'weight': '-Infinity' is not a finite number")
    assert bad[RECORD] == '{"id":2,"weight":"-Infinity"}'
