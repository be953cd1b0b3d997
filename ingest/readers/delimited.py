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

from ingest.grammar.parse import BLANKS, text_of
from ingest.readers import Checked
from ingest.readers.raw import file_column, read_lines, text_reason, with_values
from ingest.spark.columns import CORRUPT, FILE, TEXT, ddl, quoted, text_column
from ingest.staging.shape import Shape
from ingest.staging.stage import stage
from ingest.staging.staged_file import StagedFile
from millrace.config.checks.reader_options import ReaderOptions
from millrace.config.sections.columns import INTEGERS
from millrace.retry import NO_RETRY, RetryPolicy

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

_ROW: Final = "#row"
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

    def read(self, spark: "SparkSession", files: Sequence[StagedFile], *, brief: bool = False) -> "DataFrame":
        """Parse every file with the columns of its own header."""
        layouts: dict[tuple[str, ...], list[StagedFile]] = {}
        for file in files:
            layouts.setdefault(file.columns or tuple(self.shape.in_file.values()), []).append(file)
        frames = [self._read(spark, group, written, brief=brief) for written, group in layouts.items()]
        return reduce(lambda left, right: left.unionAll(right), frames)

    def _read(
        self, spark: "SparkSession", files: list[StagedFile], written: tuple[str, ...], *, brief: bool
    ) -> "DataFrame":
        columns = self.shape.declared
        typed = self._typed(files, written) if brief else frozenset()
        # Fields are named by position: names in a file may differ only in case, or be those of our own columns.
        types = dict.fromkeys(map(_field, range(len(written))), "string")
        types |= {_field(written.index(self.shape.in_file[name])): columns[name].type for name in typed}
        schema = f"{ddl(types)}, {quoted(CORRUPT)} string"
        # An empty field is null, with quotes and without, whatever other text is null.
        settings = {"emptyValue": self.options.spark.get("nullValue", ""), **self.options.spark}
        settings |= {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT}
        if self.options.multi_line:
            lines = _records(spark, files, schema, {**settings, "header": str(self.options.header)})
        else:
            lines = read_lines(spark, files).withColumn(_ROW, F.from_csv(quoted(TEXT), schema, settings))
        # A projection of its own, because Spark would otherwise compute a text again wherever it is used.
        fields = [F.col(quoted(TEXT)), F.col(quoted(FILE)), F.col(f"{quoted(_ROW)}.{quoted(CORRUPT)}").alias(CORRUPT)]
        for name, column in columns.items():
            field = self._field_of(name, written)
            fields.append(field.alias(name) if name in typed else text_of(field, column).alias(text_column(name)))
        is_clean = None
        if not self.options.multi_line and any(c.type in INTEGERS for name, c in columns.items() if name not in typed):
            # One pattern for a line takes less time than one for each of its fields.
            fields.append((~F.col(quoted(TEXT)).rlike(BLANKS)).alias(_CLEAN))
            is_clean = F.col(quoted(_CLEAN))
        reasons = self._reasons(files, len(written), brief=brief)
        return with_values(lines.select(fields), columns, reasons, is_clean, typed=typed, brief=brief)

    def _typed(self, files: Sequence[StagedFile], written: tuple[str, ...]) -> frozenset[str]:
        """The columns that Spark's CSV parser may read as integers: it accepts what the grammar accepts.

        It uses Java's ``parseInt``, which takes a sign and digits, but digits of other scripts as well.
        """
        if self.options.multi_line or any(file.lines.has_other_digits for file in files):
            return frozenset()
        plain = {n for n, c in self.shape.declared.items() if c.type in INTEGERS and not c.text_keys}
        return frozenset(name for name in plain if self.shape.in_file[name] in written)

    def _field_of(self, name: str, written: tuple[str, ...]) -> "Column":
        in_file = self.shape.in_file[name]
        if in_file not in written:
            return F.lit(None).cast("string")
        return F.col(f"{quoted(_ROW)}.{quoted(_field(written.index(in_file)))}")

    def _reasons(self, files: Sequence[StagedFile], width: int, *, brief: bool) -> "list[Column]":
        """The reasons to reject a whole line: bytes that are no text, or a wrong number of fields."""
        fields = _field_count(F.col(quoted(TEXT)), self.options)
        count = F.concat(F.lit(f"expected {width} fields, found "), fields.cast("string"))
        malformed = F.when(fields != width, count).otherwise(F.lit("the line does not fit the declared columns"))
        reasons = [F.when(F.col(quoted(CORRUPT)).isNotNull(), F.lit("") if brief else malformed)]
        if not all(file.lines.is_utf8 and not file.lines.has_nul for file in files):
            reasons.insert(0, text_reason(files))
        return reasons


def _field(position: int) -> str:
    return f"#{position}"


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
