"""Parses staged CSV files with Spark so that each line ends up as a row or as a reject with a reason.

Lines are read as text and parsed by ``from_csv``, so that the raw text of every row is at hand. Where a value may span
lines only Spark's CSV reader can tell records apart; what is left of the raw text is then the parsed values.
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
    """Reads CSV, with a header or without one."""

    shape: Shape
    options: ReaderOptions

    @property
    def counts_lines(self) -> bool:
        """Only where a line is a row."""
        return not self.options.multi_line

    @property
    def has_lines(self) -> bool:
        """Only where a line is a row."""
        return not self.options.multi_line

    def stage(self, path: str, prefix: str, retry: RetryPolicy = NO_RETRY) -> list[StagedFile]:
        """Compare headers and count lines."""
        return stage(path, prefix, self.shape, self.options, retry)

    def check(self, spark: "SparkSession", files: Sequence[StagedFile]) -> Checked:
        """Nothing more: the header has been compared."""
        return Checked()

    def read(self, spark: "SparkSession", files: Sequence[StagedFile]) -> "DataFrame":
        """Parse every file by the columns of its own header."""
        frames = [self._read(spark, alike, columns) for columns, alike in self._layouts(files)]
        return reduce(lambda left, right: left.unionAll(right), frames)

    def explain(self, frame: "DataFrame", files: Sequence[StagedFile]) -> "DataFrame":
        """Find the column and the value that does not fit."""
        layouts = self._layouts(files)
        if len(layouts) == 1:
            return self._explain(frame, layouts[0][0])
        parts = []
        for columns, alike in layouts:
            mine = frame.where(F.col(quoted(FILE)).isin([file.file for file in alike]))
            parts.append(self._explain(mine, columns))
        return reduce(lambda left, right: left.unionAll(right), parts)

    def _layouts(self, files: Sequence[StagedFile]) -> list[tuple[dict[str, str], list[StagedFile]]]:
        """Columns with their types, and the files that hold just these in just this order."""
        layouts: dict[tuple[str, ...], list[StagedFile]] = {}
        for file in files:
            layouts.setdefault(file.columns or tuple(self.shape.columns), []).append(file)
        types = self.shape.columns
        return [({name: types.get(name, "string") for name in names}, alike) for names, alike in layouts.items()]

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
        found = [_trouble(name, type_name, self.options) for name, type_name in typed.items()]
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
    """Why a row is to be rejected, in a word; the details are found out for rejected rows alone."""
    reason = F.when(F.col(f"row.{quoted(CORRUPT)}").isNotNull(), F.lit(MALFORMED))
    for name in floats_of(columns):
        reason = reason.when(is_not_finite(F.col(f"row.{quoted(name)}")), F.lit(NOT_FINITE))
    if all(file.lines.is_utf8 and not file.lines.has_nul for file in files):
        return reason
    return F.coalesce(text_reason(files), reason)


def _trouble(name: str, type_name: str, options: ReaderOptions) -> "Column":
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
    """Fields in a record: the separators outside quotes, and one."""
    if options.quote:
        quote = f"\\{options.quote}"
        record = F.regexp_replace(record, f"{quote}[^{quote}]*{quote}", "")
    without = F.replace(record, F.lit(options.separator), F.lit(""))
    return F.length(record) - F.length(without) + 1
