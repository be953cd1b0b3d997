"""The same for many files: what is wrong with one does not hide the others, here and on executors."""

from typing import TYPE_CHECKING

import pytest

from ingest.errors import FileUnreadable
from ingest.spark import executors
from ingest.spark.executors import map_paths
from millrace.errors import StorageError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def length(path: str) -> int:
    if "bad" in path:
        raise FileUnreadable(path, reason="bad")
    if "down" in path:
        raise StorageError(f"{path}: the disk is gone", hint="wait")
    return len(path)


def test_a_file_that_is_wrong_is_a_result() -> None:
    one, bad, three = map_paths(None, length, ["a", "bad", "abc"], 0)
    assert (one, three) == (1, 3)
    assert isinstance(bad, FileUnreadable)
    with pytest.raises(StorageError, match="the disk is gone"):
        map_paths(None, length, ["bad", "down"], 0)


@pytest.mark.spark
def test_on_executors(spark: "SparkSession", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "SPREAD_BYTES", -1)
    one, bad = map_paths(spark, length, ["hdfs://h/a", "hdfs://h/bad"], 0)
    assert one == 10
    assert isinstance(bad, FileUnreadable)
    assert (str(bad), bad.file) == ("hdfs://h/bad: bad", "hdfs://h/bad")
    with pytest.raises(StorageError, match="the disk is gone") as caught:
        map_paths(spark, length, ["hdfs://h/down"], 0)
    assert caught.value.hint == "wait"
