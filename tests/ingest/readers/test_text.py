"""Plain text: a line is a value."""

import bz2
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ingest.small import Small, load

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


def test_lines_of_a_packed_file(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    data = bz2.compress(b'  a, "b"  \n\n\xff\nlast')
    small = Small(tmp_path).source(data, file="review.txt", columns={"id": "string"}, format="text")
    small.learning("id", label="size").steps({"derive": {"size": "1"}}).ingest["max_rejected"] = 1
    source = load(small, spark, stack)["things"]
    assert [row["id"] for row in source.frame.collect()] == ['  a, "b"  ', "last"]
    assert source.rejects is not None
    assert sorted(row["reason"] for row in source.rejects.collect()) == ["blank line", "bytes that are not UTF-8"]
