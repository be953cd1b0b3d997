"""Functions that readers share: read lines of text, find the file of a row, select rejected rows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from ingest.spark.columns import FILE, NOT_UTF8, NUL, REASON, RECORD, TEXT, quoted
from ingest.staging.lines import BLANK
from ingest.staging.staged_file import StagedFile

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession


def file_column(files: Sequence[StagedFile]) -> "Column":
    """The file that a row comes from, equal to its `StagedFile.file`."""
    whole = any("/" in file.file for file in files)
    return F.col("_metadata.file_path" if whole else "_metadata.file_name").alias(FILE)


def read_lines(spark: "SparkSession", files: Sequence[StagedFile]) -> "DataFrame":
    """Read the lines that are neither blank nor headers, as the columns `TEXT` and `FILE`."""
    text = spark.read.text([file.uri for file in files])
    text = text.select(F.col("value").alias(TEXT), file_column(files))
    text = text.where(F.length(F.btrim(quoted(TEXT), F.lit(BLANK.decode()))) > 0)
    for header in {file.header for file in files if file.header is not None}:
        names = [file.file for file in files if file.header == header]
        own = F.lit(True) if len(names) == len(files) else F.col(quoted(FILE)).isin(names)
        text = text.where((F.col(quoted(TEXT)) != F.lit(header)) | ~own)
    return text


def text_reason(files: Sequence[StagedFile]) -> "Column":
    """The reason to reject a line's text, for any format; null for valid text."""
    conditions = []
    if not all(file.lines.is_utf8 for file in files):
        conditions.append((~F.is_valid_utf8(quoted(TEXT)), NOT_UTF8))
    if any(file.lines.has_nul for file in files):
        conditions.append((F.contains(F.col(quoted(TEXT)), F.lit("\0")), NUL))
    reason = F.lit(None).cast("string")
    for condition, name in reversed(conditions):
        reason = F.when(condition, F.lit(name)).otherwise(reason)
    return reason


def record_of() -> "Column":
    """The raw text of a rejected row, from the columns `TEXT` and `REASON`; null for a good row."""
    return F.when(F.col(quoted(REASON)).isNotNull(), F.make_valid_utf8(quoted(TEXT)))


def rejected_rows(frame: "DataFrame") -> "DataFrame":
    """Select the rows that have a reason, as `FILE`, `REASON` and `RECORD`."""
    return frame.where(F.col(quoted(REASON)).isNotNull()).select(quoted(FILE), quoted(REASON), quoted(RECORD))
