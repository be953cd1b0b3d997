"""SequenceFiles: written by Hadoop, their classes compared, a damaged one named."""

import contextlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ingest.errors import ColumnsMismatch, FileUnreadable
from ingest.readers.sequence import SequenceReader, read_header
from tests.ingest.small import Small, load, shape_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TEXT = b"org.apache.hadoop.io.Text"
HEADER = b"SEQ\x06" + bytes([len(TEXT)]) + TEXT + bytes([len(TEXT)]) + TEXT


def test_headers(tmp_path: Path) -> None:
    assert read_header(io.BytesIO(HEADER)) == (TEXT.decode(), TEXT.decode())
    (tmp_path / "a").write_bytes(HEADER)
    with pytest.raises(ColumnsMismatch, match="column 'v': expected int, found string"):
        SequenceReader(shape_of({"v": "int"})).stage(str(tmp_path / "a"), str(tmp_path / "staged"))
    for bad in (b"", b"SEQ", HEADER[:4], b"PAR1", b"SEQ\x06\xff\xff"):
        (tmp_path / "a").write_bytes(bad)
        with pytest.raises(FileUnreadable, match="not a SequenceFile"):
            SequenceReader(shape_of({"v": "int"})).stage(str(tmp_path / "a"), str(tmp_path / "staged"))


@pytest.mark.spark
def test_pairs_and_a_damaged_file(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    pairs = spark.sparkContext.parallelize([(n, f"text {n}" * 20) for n in range(300)], 2)
    pairs.saveAsSequenceFile((tmp_path / "in").as_uri())
    small = Small(tmp_path).source(b"", columns={"id": "int", "name": "string"}, format="sequencefile")
    small.learning("name").sources["things"]["path"] = "in/part-*"
    source = load(small, spark, stack)["things"]
    assert (source.rows, source.rejected) == (300, 0)
    assert sorted(tuple(row) for row in source.frame.where("id < 2").collect()) == [
        (0, "text 0" * 20),
        (1, "text 1" * 20),
    ]
    part = tmp_path / "in" / "part-00001"
    data = part.read_bytes()
    part.write_bytes(data[:2000] + bytes(40) + data[2040:])
    (tmp_path / "staging").rename(tmp_path / "old")
    with pytest.raises(FileUnreadable, match="part-00001: damaged: "):
        load(small, spark, stack)
