"""The base of the readers whose files store the types of their columns, such as Parquet and Avro."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pyspark.sql import functions as F

from ingest.grammar.times import range_reason
from ingest.readers import Checked
from ingest.readers.raw import file_column
from ingest.spark.columns import REASON, RECORD, ddl, not_finite_reason, quoted
from ingest.staging.lines import LineCount
from ingest.staging.shape import Shape
from ingest.staging.staged_file import StagedFile, key_of, make_readable
from millrace.retry import NO_RETRY, RetryPolicy

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class FileContent:
    """What `TypedReader.inspect` found in a file.

    Attributes:
        rows: Number of rows; 0 if only Spark can count them, in `TypedReader.check`.
        columns: Names of the columns, in order.
    """

    rows: int
    columns: tuple[str, ...]


@dataclass(frozen=True)
class TypedReader(ABC):
    """Reads files that store the types of their columns.

    Each file's columns are compared with the declared ones once. After that only a NaN, an infinite number, or a date
    or timestamp outside the years 1 to 9999 can make a row malformed.

    To add such a format, write a module in `ingest.readers` with a subclass that provides:

    - `inspect`: check one file, without Spark. It must compare the columns with `self.shape.check`, decode the whole
      file to find damage, and count the rows.
    - `spark_format`: the name of Spark's reader for the format, such as ``"parquet"``. If Spark has none, override
      `load` instead.
    - `check`, only if some errors or the number of rows can be found with Spark alone.

    Then add the format's name to `Format` in `millrace.config.sections.sources`, the subclass to
    `ingest.readers.registry`, the options that users may set (if any) to `KNOWN` in
    `millrace.config.checks.reader_options`, and the format to ``docs/sources.md``. A format whose rows are lines of
    text is no typed format: see `Reader`, and `ingest.readers.text` for an example.

    Attributes:
        shape: The declared columns.
    """

    spark_format: ClassVar[str] = ""

    shape: Shape
    counts_lines: bool = True
    has_lines: bool = False

    @abstractmethod
    def inspect(self, path: str, retry: RetryPolicy) -> FileContent:
        """Check one file.

        Args:
            path: The file.
            retry: The policy for reading it.

        Raises:
            ColumnsMismatch: Its columns are not the declared ones.
            FileUnreadable: It is damaged, or of another format.
        """

    def stage(self, path: str, prefix: str, retry: RetryPolicy = NO_RETRY) -> list[StagedFile]:
        """Inspect the file and make it readable for Spark."""
        content = self.inspect(path, retry)
        uri = make_readable(path, f"{prefix}-00000", retry)
        return [StagedFile(uri, key_of(path, uri), path, None, LineCount(rows=content.rows), content.columns)]

    def check(self, spark: "SparkSession", files: Sequence[StagedFile]) -> Checked:
        """Find no more errors: `inspect` found all of them."""
        return Checked()

    def load(self, spark: "SparkSession", files: Sequence[StagedFile]) -> "DataFrame":
        """Read the declared columns and `FILE` with Spark's reader for the format."""
        reader = spark.read.schema(ddl(self.shape.types_in_file)).format(self.spark_format)
        frame = reader.load([file.uri for file in files])
        columns = [F.col(quoted(written)).alias(name) for name, written in self.shape.in_file.items()]
        return frame.select(*columns, file_column(files))

    def read(self, spark: "SparkSession", files: Sequence[StagedFile], *, brief: bool = False) -> "DataFrame":
        """Load the rows; a row with a value that no column may hold gets a reason and its values as JSON."""
        reason = F.coalesce(not_finite_reason(self.shape.columns), range_reason(self.shape.columns))
        rows = self.load(spark, files).withColumn(REASON, reason)
        record = F.to_json(F.struct(*map(quoted, self.shape.columns)))
        return rows.withColumn(RECORD, F.when(F.col(quoted(REASON)).isNotNull(), record))
