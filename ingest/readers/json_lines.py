"""Parses JSON lines: each line is an object; its keys and types are compared with the declared columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pyspark.sql import functions as F

from ingest.errors import ColumnsMismatch
from ingest.readers import Checked
from ingest.readers.raw import read_lines, text_reason
from ingest.spark.columns import (
    CORRUPT,
    FILE,
    MALFORMED,
    REASON,
    RECORD,
    SHOWN_VALUE,
    ddl,
    not_finite_reason,
    quoted,
)
from ingest.spark.errors import mapped_actions
from ingest.staging.shape import Shape
from ingest.staging.stage import stage
from ingest.staging.staged_file import StagedFile
from millrace.config.checks.reader_options import ReaderOptions
from millrace.retry import NO_RETRY, RetryPolicy

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

_NUMBERS: Final = ("BIGINT", "DECIMAL", "DOUBLE", "FLOAT", "INT")
_KINDS: Final = {"string": (), "boolean": ("BOOLEAN",), "date": ("STRING",), "timestamp": ("STRING", *_NUMBERS)}
"""Kinds of JSON values, as Spark calls them, that fit a declared type; an empty tuple means any kind. Types that are
not listed are numbers and need a JSON number."""


@dataclass(frozen=True)
class JsonReader:
    """Reads one object per line; keys may be in any order, and a value may be null."""

    shape: Shape
    options: ReaderOptions
    counts_lines: bool = True
    has_lines: bool = True

    def stage(self, path: str, prefix: str, retry: RetryPolicy = NO_RETRY) -> list[StagedFile]:
        """Count the lines and make them readable for Spark."""
        return stage(path, prefix, self.shape, self.options, retry)

    def check(self, spark: "SparkSession", files: Sequence[StagedFile]) -> Checked:
        """Compare the keys and the kinds of values of all lines of a file with the declared columns."""
        lines = read_lines(spark, files).select(quoted(FILE), F.expr("try_parse_json(text)").alias("value"))
        pairs = lines.lateralJoin(spark.tvf.variant_explode(F.col("value").outer()).alias("pair"))
        kind = F.regexp_extract(F.expr("schema_of_variant(pair.value)"), r"^\w+", 0)
        with mapped_actions("reading the sources"):
            found = pairs.select(quoted(FILE), F.col("pair.key").alias("key"), kind.alias("kind")).distinct().collect()
        kinds: dict[str, dict[str, set[str]]] = {}
        for file, key, name in found:
            if key is not None:  # a line without an object is a malformed row, not a bad file
                kinds.setdefault(file, {}).setdefault(key, set()).add(name)
        bad = {}
        for staged in files:
            if staged.file in kinds:
                try:
                    self.shape.check(staged.name, self._types(kinds[staged.file]))
                except ColumnsMismatch as error:
                    bad[staged.file] = error
        return Checked(bad=bad)

    def _types(self, kinds: Mapping[str, set[str]]) -> dict[str, str]:
        """Types for `Shape.check`; a column with at least one fitting value counts as of the declared type.

        The other values of such a column only make their rows malformed.
        """
        types = {}
        for name, found in kinds.items():
            wanted = self.shape.columns.get(name, "")
            fitting = _KINDS.get(wanted, _NUMBERS)
            seen = sorted(found - {"VOID"})
            fits = not seen or not fitting or any(kind in fitting for kind in seen)
            types[name] = wanted if fits and wanted else " or ".join(map(str.lower, seen)) or "null"
        return types

    def read(self, spark: "SparkSession", files: Sequence[StagedFile]) -> "DataFrame":
        """Parse every line with the declared columns."""
        settings = {**self.options.spark, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT}
        schema = f"{ddl(self.shape.columns)}, {quoted(CORRUPT)} string"
        parsed = read_lines(spark, files).withColumn("row", F.from_json("text", schema, settings))
        corrupt = F.col("row").isNull() | F.col(f"row.{quoted(CORRUPT)}").isNotNull()
        reason = F.coalesce(
            text_reason(files), F.when(corrupt, F.lit(MALFORMED)), not_finite_reason(self.shape.columns, "row.")
        )
        values = [F.col(f"row.{quoted(name)}") for name in self.shape.columns]
        rows = parsed.select(*values, quoted(FILE), reason.alias(REASON), "text")
        record = F.when(F.col(quoted(REASON)).isNotNull(), F.expr("make_valid_utf8(text)"))
        return rows.select(*map(quoted, (*self.shape.columns, FILE, REASON)), record.alias(RECORD))

    def explain(self, frame: "DataFrame", files: Sequence[StagedFile]) -> "DataFrame":
        """Find the column and the value that does not fit, by parsing each column alone."""
        bad = frame.where(F.col(quoted(REASON)).isNotNull())
        bad = bad.withColumn("value", F.expr(f"try_parse_json({quoted(RECORD)})"))
        mismatches = [self._mismatch(name, type_name) for name, type_name in self.shape.columns.items()]
        is_object = F.expr("schema_of_variant(value) LIKE 'OBJECT%'")
        malformed = F.when(~F.coalesce(is_object, F.lit(False)), F.lit("the line is not one JSON object")).otherwise(
            F.coalesce(*mismatches, F.lit("the line does not fit the declared columns"))
        )
        reason = F.when(F.col(quoted(REASON)) == MALFORMED, malformed).otherwise(F.col(quoted(REASON)))
        return bad.select(quoted(FILE), reason.alias(REASON), quoted(RECORD))

    def _mismatch(self, name: str, type_name: str) -> "Column":
        settings = {**self.options.spark, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT}
        schema = f"{quoted(name)} {type_name}, {quoted(CORRUPT)} string"
        alone = F.from_json(quoted(RECORD), schema, settings)
        value = F.get_json_object(quoted(RECORD), f"$['{name}']")
        shown = F.concat(F.lit(f"column '{name}': "), F.left(value, F.lit(SHOWN_VALUE)))
        wrong = alone.getField(CORRUPT).isNotNull() & value.isNotNull()
        return F.when(wrong, F.concat(shown, F.lit(f" is not of type {type_name}")))
