"""Makes the rows of the rejects table: source, file, line (if known), reason and text of each rejected row."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from pyspark.sql import functions as F

from ingest.sources.line_numbers import Numbers, find_numbers
from ingest.sources.staged import StagedSource
from ingest.spark.columns import FILE, REASON, RECORD, quoted
from ingest.staging.lines import MAX_LINE_BYTES
from ingest.staging.staged_file import StagedFile

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

REJECT_COLUMNS: Final = ("source", "source_file", "line", "reason", "record")
_SCHEMA: Final = "source string, source_file string, line bigint, reason string, record string"


def rejects_of(staged: StagedSource, frame: "DataFrame", spark: "SparkSession") -> "DataFrame":
    """The rejected rows of a source, in `REJECT_COLUMNS`.

    Args:
        staged: The source.
        frame: Its parsed rows, persisted.
        spark: The session.
    """
    explained = staged.reader.explain(frame, staged.files)
    numbers: dict[str, Numbers] = {}
    if staged.reader.has_lines:
        explained, numbers = find_numbers(explained, staged.files, spark, staged.retry)
    else:
        explained = explained.withColumn("line", F.lit(None).cast("bigint"))
    names = spark.createDataFrame([(file.file, file.name) for file in staged.files], "file string, name string")
    found = explained.join(F.broadcast(names), F.col(quoted(FILE)) == F.col("file"), "left").select(
        F.lit(staged.name).alias("source"),
        F.col("name").alias("source_file"),
        F.col("line"),
        F.col(quoted(REASON)).alias("reason"),
        F.col(quoted(RECORD)).alias("record"),
    )
    rows = [(staged.name, *row) for file in staged.files for row in _unread(file, numbers.get(file.file))]
    if not rows:
        return found
    unread = spark.createDataFrame(rows, f"{_SCHEMA}, count bigint")
    each = unread.select(*REJECT_COLUMNS, F.explode(F.sequence(F.lit(1), "count"))).drop("col")
    return found.unionAll(each)


def _unread(file: StagedFile, numbers: Numbers | None) -> Iterator[tuple[Any, ...]]:
    """Yield the rejected lines that Spark did not read: file, line, reason, text and number of such lines."""
    for line in file.long_lines:
        yield file.name, line.number, f"longer than {MAX_LINE_BYTES >> 20} MiB", line.start, 1
    if numbers is None:
        return
    blank = file.lines.blank + file.lines.trailing_blank
    for count, known, reason, record in (
        (blank, numbers.blank, "blank line", ""),
        (file.lines.repeated_headers, numbers.headers, "repeats the header", file.header or ""),
    ):
        for number in known:
            yield file.name, number, reason, record, 1
        if count > len(known):
            yield file.name, None, reason, record, count - len(known)
