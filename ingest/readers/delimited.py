"""Parses staged CSV files with Spark: each line becomes a row, or a reject with a reason.

Lines are read as text and parsed with ``from_csv``, so that the raw text of every row is available. If values may span
lines, only Spark's CSV reader can separate the records; the raw text of a reject is then rebuilt from its values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from ingest.readers import Checked
from ingest.readers.raw import file_column, read_lines, text_reason
from ingest.spark.columns import (
    CORRUPT,
    FILE,
    MALFORMED,
    NOT_FINITE,
    REASON,
    RECORD,
    SHOWN_VALUE,
    ddl,
    floats_of,
    is_not_finite,
    quoted,
)
from ingest.staging.shape import Shape
from ingest.staging.stage import stage
from ingest.staging.staged_file import StagedFile
from millrace.config.checks.reader_options import ReaderOptions
from millrace.retry import NO_RETRY, RetryPolicy

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession


@dataclass(frozen=True)
class DelimitedReader:
    """Reads CSV files with or without a header."""

    shape: Shape
    options: ReaderOptions

    @property
    def counts_lines(self) -> bool:
        """Whether each line is one row; no, if values may span lines."""
        return not self.options.multi_line

    @property
    def has_lines(self) -> bool:
        """Whether each line is one row; no, if values may span lines."""
        return not self.options.multi_line

    def stage(self, path: str, prefix: str, retry: RetryPolicy = NO_RETRY) -> list[StagedFile]:
        """Compare the headers, count the lines and make them readable for Spark."""
        return stage(path, prefix, self.shape, self.options, retry)

    def check(self, spark: "SparkSession", files: Sequence[StagedFile]) -> Checked:
        """Find no more errors: `stage` compared the headers."""
        return Checked()

    def read(self, spark: "SparkSession", files: Sequence[StagedFile]) -> "DataFrame":
        """Parse every file with the columns of its own header."""
        frames = [self._read(spark, group, columns) for columns, group in self._layouts(files)]
        return reduce(lambda left, right: left.unionAll(right), frames)

    def explain(self, frame: "DataFrame", files: Sequence[StagedFile]) -> "DataFrame":
        """Find the column and the value that does not fit, for each rejected row."""
        layouts = self._layouts(files)
        if len(layouts) == 1:
            return self._explain(frame, layouts[0][0])
        parts = []
        for columns, group in layouts:
            of_layout = frame.where(F.col(quoted(FILE)).isin([file.file for file in group]))
            parts.append(self._explain(of_layout, columns))
        return reduce(lambda left, right: left.unionAll(right), parts)

    def _layouts(self, files: Sequence[StagedFile]) -> list[tuple[dict[str, str], list[StagedFile]]]:
        """Group the files by their columns and the order of these; returns columns with types, and the files."""
        layouts: dict[tuple[str, ...], list[StagedFile]] = {}
        for file in files:
            layouts.setdefault(file.columns or tuple(self.shape.columns), []).append(file)
        types = self.shape.columns
        return [({name: types.get(name, "string") for name in names}, group) for names, group in layouts.items()]

    def _read(self, spark: "SparkSession", files: list[StagedFile], columns: dict[str, str]) -> "DataFrame":
        schema = f"{ddl(columns)}, {quoted(CORRUPT)} string"
        settings = {**self.options.spark, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT}
        if self.options.multi_line:
            parsed = _records(spark, files, schema, {**settings, "header": str(self.options.header)})
        else:
            parsed = read_lines(spark, files).withColumn("row", F.from_csv("text", schema, settings))
        reason = _reason({name: t for name, t in columns.items() if name in self.shape.columns}, files)
        values = [
            F.col(f"row.{quoted(name)}") if name in columns else F.lit(None).cast(type_name).alias(name)
            for name, type_name in self.shape.columns.items()
        ]
        rows = parsed.select(*values, quoted(FILE), reason.alias(REASON), "text")
        record = F.when(F.col(quoted(REASON)).isNotNull(), F.expr("make_valid_utf8(text)"))
        kept = [quoted(name) for name in (*self.shape.columns, FILE, REASON)]
        return rows.select(*kept, record.alias(RECORD))

    def _explain(self, frame: "DataFrame", columns: dict[str, str]) -> "DataFrame":
        strings = dict.fromkeys(columns, "string")
        schema = f"{ddl(strings)}, {quoted(CORRUPT)} string"
        settings = {**self.options.spark, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT}
        bad = frame.where(F.col(quoted(REASON)).isNotNull())
        bad = bad.withColumn("values", F.from_csv(quoted(RECORD), schema, settings))
        typed = {name: type_name for name, type_name in columns.items() if type_name != "string"}
        found = [_mismatch(name, type_name, self.options) for name, type_name in typed.items()]
        fields = _field_count(F.col(quoted(RECORD)), self.options)
        count = F.concat(F.lit(f"expected {len(columns)} fields, found "), fields.cast("string"))
        reason = (
            F.when(~F.col(quoted(REASON)).isin(MALFORMED, NOT_FINITE), F.col(quoted(REASON)))
            .when(F.col(f"values.{quoted(CORRUPT)}").isNotNull() & (fields != len(columns)), count)
            .otherwise(F.coalesce(*found, F.lit("the line does not fit the declared columns")))
        )
        return bad.select(quoted(FILE), reason.alias(REASON), quoted(RECORD))


def _records(spark: "SparkSession", files: Sequence[StagedFile], schema: str, settings: dict[str, str]) -> "DataFrame":
    reader = spark.read.schema(schema).options(**settings, multiLine="true", enforceSchema="true")
    frame = reader.csv([file.uri for file in files])
    values = [F.col(quoted(name)) for name in frame.columns]
    text = F.coalesce(values[-1], F.to_csv(F.struct(*values[:-1])))
    return frame.select(text.alias("text"), file_column(files), F.struct(*values).alias("row"))


def _reason(columns: dict[str, str], files: Sequence[StagedFile]) -> "Column":
    """The reason to reject a row, in short; `DelimitedReader.explain` finds the details of rejected rows."""
    reason = F.when(F.col(f"row.{quoted(CORRUPT)}").isNotNull(), F.lit(MALFORMED))
    for name in floats_of(columns):
        reason = reason.when(is_not_finite(F.col(f"row.{quoted(name)}")), F.lit(NOT_FINITE))
    if all(file.lines.is_utf8 and not file.lines.has_nul for file in files):
        return reason
    return F.coalesce(text_reason(files), reason)


def _mismatch(name: str, type_name: str, options: ReaderOptions) -> "Column":
    text = F.col(f"values.{quoted(name)}")
    pattern = options.spark.get(f"{type_name}Format")
    if pattern is None:
        value = F.expr(f"try_cast(values.{quoted(name)} AS {type_name})")
    else:
        value = F.try_to_timestamp(text, F.lit(pattern))
    shown = F.concat(F.lit(f"column '{name}': '"), F.left(text, F.lit(SHOWN_VALUE)), F.lit("' is not "))
    bad = value.isNull() | text.rlike(r"^\s|\s$")
    reason = F.when(text.isNotNull() & bad, F.concat(shown, F.lit(f"of type {type_name}")))
    if type_name in ("float", "double"):
        reason = reason.when(is_not_finite(value), F.concat(shown, F.lit("a finite number")))
    return reason


def _field_count(record: "Column", options: ReaderOptions) -> "Column":
    """Count the fields of a record: the separators outside quotes, plus one."""
    if options.quote:
        quote = f"\\{options.quote}"
        record = F.regexp_replace(record, f"{quote}[^{quote}]*{quote}", "")
    without = F.replace(record, F.lit(options.separator), F.lit(""))
    return F.length(record) - F.length(without) + 1
