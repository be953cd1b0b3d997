"""Reads SequenceFiles: key and value of each record, with Hadoop's own reader."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from ingest.errors import FileUnreadable
from ingest.readers import Checked
from ingest.readers.typed import FileContent, TypedReader
from ingest.spark.columns import FILE, ddl, quoted
from ingest.spark.errors import first_line
from ingest.staging.staged_file import StagedFile
from millrace.retry import RetryPolicy
from millrace.storage import open_input

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_MAGIC: Final = b"SEQ"
_VERSIONS: Final = (5, 6)
_WRITABLES: Final = {
    "Text": "string", "IntWritable": "int", "VIntWritable": "int", "LongWritable": "bigint", "VLongWritable": "bigint",
    "FloatWritable": "float", "DoubleWritable": "double", "BooleanWritable": "boolean", "BytesWritable": "binary",
}  # fmt: skip
"""SQL types of the classes in org.apache.hadoop.io. NullWritable holds no value, so it cannot be a column."""


def read_header(file: BinaryIO) -> tuple[str, str]:
    """Read the class names of keys and values.

    Raises:
        ValueError: The file is not a SequenceFile.
    """
    magic = file.read(4)
    if magic[:3] != _MAGIC or magic[3] not in _VERSIONS:
        raise ValueError("it does not start like a SequenceFile")
    return _text(file), _text(file)


def _text(file: BinaryIO) -> str:
    length = file.read(1)
    size = int.from_bytes(length, signed=True)
    if not length or size < 0:  # a class name of more than 127 bytes is none of `_WRITABLES`
        raise ValueError("its header is truncated or damaged")
    return file.read(size).decode("utf-8", errors="replace")


class SequenceReader(TypedReader):
    """Reads records of Hadoop's Writables: two declared columns are key and value, one column is the value."""

    def inspect(self, path: str, retry: RetryPolicy) -> FileContent:
        """Compare the classes in the header with the declared columns."""
        try:
            with open_input(path, retry) as source:
                classes = read_header(io.BytesIO(source.read(1024)))
        except (ValueError, IndexError) as error:
            raise FileUnreadable(path, reason=f"not a SequenceFile: {error}") from error
        names = list(self.shape.columns)
        found = [_type_of(name) for name in classes]
        wanted = found if len(names) == 2 else found[1:]  # noqa: PLR2004 - a pair
        self.shape.check(path, dict(zip(names, wanted, strict=False)))
        return FileContent(0, tuple(names))

    def check(self, spark: "SparkSession", files: Sequence[StagedFile]) -> Checked:
        """Read every file once and count its records."""
        rows, bad = {}, {}
        for file in files:
            try:
                rows[file.file] = self._pairs(spark, file).count()
            except (PySparkException, Py4JError) as error:
                bad[file.file] = FileUnreadable(file.name, reason=f"damaged: {_cause(error)}")
        return Checked(rows, bad)

    def load(self, spark: "SparkSession", files: Sequence[StagedFile]) -> "DataFrame":
        """Read the records as rows."""
        first = 2 - len(self.shape.columns)
        rows = []
        for file in files:
            name = file.file
            rows.append(self._pairs(spark, file).map(lambda pair, name=name: (*pair[first:], name)))
        schema = f"{ddl(self.shape.columns)}, {quoted(FILE)} string"
        return spark.createDataFrame(spark.sparkContext.union(rows), schema, verifySchema=False)

    def _pairs(self, spark: "SparkSession", file: StagedFile) -> Any:
        return spark.sparkContext.sequenceFile(file.uri)


def _type_of(class_name: str) -> str:
    package, _, name = class_name.rpartition(".")
    return _WRITABLES.get(name, class_name) if package == "org.apache.hadoop.io" else class_name


def _cause(error: Exception) -> str:
    """The last cause in an error; the lines above it only say that a Spark task failed."""
    causes = [line.removeprefix("Caused by: ") for line in str(error).splitlines() if line.startswith("Caused by: ")]
    return causes[-1] if causes else first_line(error)
