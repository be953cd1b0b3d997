"""Reads plain text: each line is the value of the one declared column."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from ingest.readers import Checked
from ingest.readers.raw import read_lines, record_of, text_reason
from ingest.spark.columns import FILE, REASON, RECORD, TEXT, quoted
from ingest.staging.shape import Shape
from ingest.staging.stage import stage
from ingest.staging.staged_file import StagedFile
from millrace.config.checks.reader_options import ReaderOptions
from millrace.retry import NO_RETRY, RetryPolicy

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class TextReader:
    """Reads lines; a blank line is rejected."""

    shape: Shape
    options: ReaderOptions
    counts_lines: bool = True
    has_lines: bool = True

    def stage(self, path: str, prefix: str, retry: RetryPolicy = NO_RETRY) -> list[StagedFile]:
        """Count the lines and make them readable for Spark."""
        return stage(path, prefix, self.shape, self.options, retry)

    def check(self, spark: "SparkSession", files: Sequence[StagedFile]) -> Checked:
        """Find no errors: every line is a valid value."""
        return Checked()

    def read(self, spark: "SparkSession", files: Sequence[StagedFile], *, brief: bool = False) -> "DataFrame":
        """Read each line as a value of the declared column."""
        (name,) = self.shape.columns
        rows = read_lines(spark, files).select(quoted(TEXT), quoted(FILE), text_reason(files).alias(REASON))
        return rows.select(F.col(quoted(TEXT)).alias(name), quoted(FILE), quoted(REASON), record_of().alias(RECORD))
