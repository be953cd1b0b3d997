"""Parses staged CSV files with Spark: each line becomes a row, or a reject with a reason.

Lines are read as text and divided into fields with ``from_csv``, so that the raw text of every row is available. If
values may span lines, only Spark's CSV reader can separate the records; the raw text of a reject is then rebuilt from
its values. `ingest.grammar` decides about the fields.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Final

from pyspark.sql import functions as F

from ingest.grammar.parse import BLANKS, find_mismatch, mark, text_of, value_of
from ingest.readers import Checked
from ingest.readers.raw import file_column, read_lines, record_of, text_reason
from ingest.spark.columns import CORRUPT, FILE, REASON, RECORD, TEXT, ddl, quoted
from ingest.staging.shape import Shape
from ingest.staging.stage import stage
from ingest.staging.staged_file import StagedFile
from millrace.config.checks.reader_options import ReaderOptions
from millrace.retry import NO_RETRY, RetryPolicy

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

_ROW: Final = "#row"
_WRONG: Final = "#wrong"
_CLEAN: Final = "#clean"
"""Whether the line has no character that Spark's casts remove at both ends of a text."""


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
        layouts: dict[tuple[str, ...], list[StagedFile]] = {}
        for file in files:
            layouts.setdefault(file.columns or tuple(self.shape.in_file.values()), []).append(file)
        frames = [self._read(spark, group, written) for written, group in layouts.items()]
        return reduce(lambda left, right: left.unionAll(right), frames)

    def _read(self, spark: "SparkSession", files: list[StagedFile], written: tuple[str, ...]) -> "DataFrame":
        # Fields are named by position: names in a file may differ only in case, or be those of our own columns.
        schema = f"{ddl(dict.fromkeys(map(_field, range(len(written))), 'string'))}, {quoted(CORRUPT)} string"
        settings = {**self.options.spark, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT}
        if self.options.multi_line:
            lines = _records(spark, files, schema, {**settings, "header": str(self.options.header)})
        else:
            lines = read_lines(spark, files).withColumn(_ROW, F.from_csv(quoted(TEXT), schema, settings))
        columns = self.shape.declared
        fields = [text_of(self._field_of(name, written), column) for name, column in columns.items()]
        texts = {name: F.col(quoted(_text_of(name))) for name in columns}
        # One pattern for a line takes less time than one for each of its fields.
        clean = F.lit(None) if self.options.multi_line else ~F.col(quoted(TEXT)).rlike(BLANKS)
        is_clean = None if self.options.multi_line else F.col(quoted(_CLEAN))
        values = [value_of(texts[name], column, is_clean).alias(name) for name, column in columns.items()]
        # One projection each, because Spark would otherwise compute a value again wherever it is used.
        named = [field.alias(_text_of(name)) for name, field in zip(columns, fields, strict=True)]
        whole = [quoted(TEXT), quoted(FILE), quoted(CORRUPT)]
        corrupt = F.col(f"{quoted(_ROW)}.{quoted(CORRUPT)}").alias(CORRUPT)
        rows = lines.select(quoted(TEXT), quoted(FILE), corrupt, clean.alias(_CLEAN), *named)
        rows = rows.select(*whole, *texts.values(), *values)
        found = {name: F.col(quoted(name)) for name in columns}
        rows = rows.withColumn(_WRONG, find_mismatch(columns, texts, found))
        rows = rows.withColumn(REASON, self._reason(files, texts, len(written)))
        return rows.select(*map(quoted, (*columns, FILE, REASON)), record_of().alias(RECORD))

    def _field_of(self, name: str, written: tuple[str, ...]) -> "Column":
        in_file = self.shape.in_file[name]
        if in_file not in written:
            return F.lit(None).cast("string")
        return F.col(f"{quoted(_ROW)}.{quoted(_field(written.index(in_file)))}")

    def _reason(self, files: Sequence[StagedFile], texts: dict[str, "Column"], width: int) -> "Column":
        """The reason to reject a row: bytes that are no text, a wrong number of fields, or a value of another type."""
        fields = _field_count(F.col(quoted(TEXT)), self.options)
        count = F.concat(F.lit(f"expected {width} fields, found "), fields.cast("string"))
        malformed = F.when(fields != width, count).otherwise(F.lit("the line does not fit the declared columns"))
        reasons = [
            F.when(F.col(quoted(CORRUPT)).isNotNull(), malformed),
            mark(F.col(quoted(_WRONG)), texts),
        ]
        if not all(file.lines.is_utf8 and not file.lines.has_nul for file in files):
            reasons.insert(0, text_reason(files))
        return F.coalesce(*reasons)


def _field(position: int) -> str:
    return f"#{position}"


def _text_of(name: str) -> str:
    return f"#text of {name}"


def _records(spark: "SparkSession", files: Sequence[StagedFile], schema: str, settings: dict[str, str]) -> "DataFrame":
    reader = spark.read.schema(schema).options(**settings, multiLine="true", enforceSchema="true")
    frame = reader.csv([file.uri for file in files])
    values = [F.col(quoted(name)) for name in frame.columns]
    text = F.coalesce(values[-1], F.to_csv(F.struct(*values[:-1])))
    return frame.select(text.alias(TEXT), file_column(files), F.struct(*values).alias(_ROW))


def _field_count(record: "Column", options: ReaderOptions) -> "Column":
    """Count the fields of a record: the separators outside quotes, plus one."""
    if options.quote:
        quote = f"\\{options.quote}"
        record = F.regexp_replace(record, f"{quote}[^{quote}]*{quote}", "")
    without = F.replace(record, F.lit(options.separator), F.lit(""))
    return F.length(record) - F.length(without) + 1
