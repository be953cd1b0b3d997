"""Reads SequenceFiles: key and value of each record, by Hadoop's own reader."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from ingest.errors import FileUnreadable
from ingest.readers import Checked
from ingest.readers.typed import explained, staged, with_reasons
from ingest.spark.columns import FILE, ddl, quoted
from ingest.spark.errors import first_line
from ingest.staging.shape import Shape
from ingest.staging.staged_file import StagedFile
from millrace.retry import NO_RETRY, RetryPolicy
from millrace.storage import open_input

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_MAGIC: Final = b"SEQ"
_VERSIONS: Final = (5, 6)
_WRITABLES: Final = {
    "Text": "string", "IntWritable": "int", "VIntWritable": "int", "LongWritable": "bigint", "VLongWritable": "bigint",
    "FloatWritable": "float", "DoubleWritable": "double", "BooleanWritable": "boolean", "BytesWritable": "binary",
}  # fmt: skip
"""What a class of org.apache.hadoop.io holds; NullWritable holds nothing, and is no column."""


def read_header(file: BinaryIO) -> tuple[str, str]:
    """Class names of keys and values.

    Raises:
        ValueError: This is no SequenceFile.
    """
    magic = file.read(4)
    if magic[:3] != _MAGIC or magic[3] not in _VERSIONS:
        raise ValueError("it does not begin as a SequenceFile")
    return _text(file), _text(file)


def _text(file: BinaryIO) -> str:
    length = file.read(1)
    size = int.from_bytes(length, signed=True)
    if not length or size < 0:  # a class whose name is longer than 127 bytes is none of those above
        raise ValueError("its header is cut or damaged")
    return file.read(size).decode("utf-8", errors="replace")


@dataclass(frozen=True)
class SequenceReader:
    """Reads records of the usual Writables: two declared columns are key and value, one is the value."""

    shape: Shape
    counts_lines: bool = True
    has_lines: bool = False

    def stage(self, path: str, prefix: str, retry: RetryPolicy = NO_RETRY) -> list[StagedFile]:
        """Compare the classes in the header."""
        try:
            with open_input(path, retry) as source:
                classes = read_header(io.BytesIO(source.read(1024)))
        except (ValueError, IndexError) as error:
            raise FileUnreadable(path, reason=f"no SequenceFile: {error}") from error
        names = list(self.shape.columns)
        found = [_type_of(name) for name in classes]
        wanted = found if len(names) == 2 else found[1:]  # noqa: PLR2004 - a pair
        self.shape.check(path, dict(zip(names, wanted, strict=False)))
        return staged(path, prefix, 0, names, retry)

    def check(self, spark: "SparkSession", files: Sequence[StagedFile]) -> Checked:
        """Read every file once, and count its records."""
        rows, bad = {}, {}
        for file in files:
            try:
                rows[file.file] = self._pairs(spark, file).count()
            except (PySparkException, Py4JError) as error:
                bad[file.file] = FileUnreadable(file.name, reason=f"damaged: {_cause(error)}")
        return Checked(rows, bad)

    def read(self, spark: "SparkSession", files: Sequence[StagedFile]) -> "DataFrame":
        """Records as rows."""
        first = 2 - len(self.shape.columns)
        rows = []
        for file in files:
            name = file.file
            rows.append(self._pairs(spark, file).map(lambda pair, name=name: (*pair[first:], name)))
        frame = spark.createDataFrame(
            spark.sparkContext.union(rows), f"{ddl(self.shape.columns)}, {quoted(FILE)} string", verifySchema=False
        )
        return with_reasons(frame, self.shape)

    def explain(self, frame: "DataFrame", files: Sequence[StagedFile]) -> "DataFrame":
        """The reason says all."""
        return explained(frame)

    def _pairs(self, spark: "SparkSession", file: StagedFile) -> Any:
        return spark.sparkContext.sequenceFile(file.uri)


def _type_of(class_name: str) -> str:
    package, _, name = class_name.rpartition(".")
    return _WRITABLES.get(name, class_name) if package == "org.apache.hadoop.io" else class_name


def _cause(error: Exception) -> str:
    """The line that says what was wrong with the bytes, below Spark's own words about the task."""
    causes = [line.removeprefix("Caused by: ") for line in str(error).splitlines() if line.startswith("Caused by: ")]
    return causes[-1] if causes else first_line(error)
