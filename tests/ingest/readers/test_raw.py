"""Lines as every text format sees them: without blank ones and headers, each with its file."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ingest.readers.raw import read_lines
from ingest.spark.columns import FILE, TEXT
from ingest.staging.lines import LineCount
from ingest.staging.staged_file import StagedFile

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


def staged(path: Path, data: bytes, header: str | None, key: str = "") -> StagedFile:
    path.write_bytes(data)
    return StagedFile(f"file://{path}", key or path.name, str(path), header, LineCount(blank=1))


def test_each_file_has_its_own_header(spark: "SparkSession", tmp_path: Path) -> None:
    files = [staged(tmp_path / "one", b"a\nx\n\nb\n", "a"), staged(tmp_path / "two", b"b\ny\n \na\n", "b")]
    rows = read_lines(spark, files).collect()
    assert sorted((row[FILE], row[TEXT]) for row in rows) == [("one", "b"), ("one", "x"), ("two", "a"), ("two", "y")]


def test_files_of_one_name_are_told_apart_by_their_addresses(spark: "SparkSession", tmp_path: Path) -> None:
    paths = [tmp_path / day / "part" for day in ("dt=1", "dt=2")]
    for path in paths:
        path.parent.mkdir()
    files = [staged(path, path.parent.name.encode(), None, f"file:{path}") for path in paths]
    assert {row[FILE]: row[TEXT] for row in read_lines(spark, files).collect()} == {
        files[0].file: "dt=1",
        files[1].file: "dt=2",
    }
