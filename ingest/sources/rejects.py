"""Makes the rows of the rejects table: source, file, line (if known), reason and text of each rejected row."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from pyspark.sql import functions as F

from ingest.errors import RejectedRows
from ingest.grammar.parse import explain
from ingest.sources.line_numbers import Numbers, find_numbers
from ingest.sources.staged import StagedSource
from ingest.spark.columns import FILE, REASON, RECORD, quoted
from ingest.spark.errors import mapped_actions
from ingest.staging.lines import MAX_LINE_BYTES
from ingest.staging.staged_file import StagedFile

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

REJECT_COLUMNS: Final = ("source", "source_file", "line", "reason", "record")
_VALUE: Final = r"(?s)^(column '[^']*'): '.*'((?:, the name of a folder,)? is .*)$"
"""Reasons that quote a value, as `ingest.grammar.parse.mismatch` writes them."""
_NO_LINE: Final = 2**62
_MOST_GROUPS: Final = 1_000
_SCHEMA: Final = "source string, source_file string, line bigint, reason string, record string"


def rejects_of(staged: StagedSource, rejected: "DataFrame", spark: "SparkSession") -> "DataFrame":
    """The rejected rows of a source, in `REJECT_COLUMNS`.

    Args:
        staged: The source.
        rejected: The rows that `rejected_rows` selected, persisted.
        spark: The session.
    """
    reason = explain(F.col(quoted(REASON)), staged.reader.shape.declared)
    explained = rejected.withColumn(REASON, reason)
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


def group_rejects(rejects: "DataFrame", show_values: Sequence[str]) -> list[RejectedRows]:
    """Group rejected rows by reason, most rows first.

    Args:
        rejects: Result of `rejects_of`.
        show_values: Columns whose values may be shown; reasons about other columns are without the value.
    """
    reason = F.col("reason")
    hidden = F.regexp_replace(reason, _VALUE, "$1: a value$2")
    column = F.regexp_extract(reason, _VALUE, 1)
    may_show = column.isin([f"column '{name}'" for name in show_values]) if show_values else F.lit(False)
    place = F.struct(F.col("source_file"), F.coalesce("line", F.lit(_NO_LINE)).alias("line"))
    first = F.min(F.struct(place.alias("place"), F.when(may_show, reason).otherwise(hidden).alias("reason")))
    kind = F.regexp_replace(hidden, " at character [0-9]+$", "").alias("kind")
    groups = rejects.groupBy(kind).agg(F.count(F.lit(1)).alias("rows"), first.alias("first"))
    with mapped_actions("reading the sources"):
        rows = groups.orderBy(F.desc("rows"), "kind").limit(_MOST_GROUPS).collect()
    return [
        RejectedRows(
            reason=row["first"]["reason"],
            rows=row["rows"],
            file=row["first"]["place"]["source_file"],
            line=None if row["first"]["place"]["line"] == _NO_LINE else row["first"]["place"]["line"],
        )
        for row in rows
    ]


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
