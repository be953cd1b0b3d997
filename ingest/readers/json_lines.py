"""Parses JSON lines: each line is an object; its keys and types are compared with the declared columns.

Python's parser reads the lines, on the executors. Spark's own reads the first object of a line and ignores the rest,
takes the last of two equal keys, accepts single quotes, and rounds numbers that become text. `ingest.grammar` decides
about the values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from ingest.errors import ColumnsMismatch, FileUnreadable
from ingest.grammar.json_objects import NOT_FINITE, decode, find_kinds, parse_lines
from ingest.grammar.parse import text_of
from ingest.readers import Checked
from ingest.readers.raw import read_lines, text_reason, with_values
from ingest.spark.columns import FILE, REASON, TEXT, ddl, quoted, text_column
from ingest.spark.errors import mapped_actions
from ingest.staging.archives import CHUNK_BYTES, Part, find_parts
from ingest.staging.shape import Shape
from ingest.staging.stage import stage
from ingest.staging.staged_file import StagedFile
from millrace.config.checks.reader_options import ReaderOptions
from millrace.config.sections.columns import FLOATS, INTEGERS, Column
from millrace.retry import NO_RETRY, RetryPolicy

if TYPE_CHECKING:
    from pyspark.sql import Column as Expression
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class JsonReader:
    """Reads one object per line; keys may be in any order, and a value may be null."""

    shape: Shape
    options: ReaderOptions
    counts_lines: bool = True
    has_lines: bool = True

    def stage(self, path: str, prefix: str, retry: RetryPolicy = NO_RETRY) -> list[StagedFile]:
        """Count the lines and make them readable for Spark.

        Raises:
            FileUnreadable: The file is one JSON array, or cannot be unpacked.
        """
        for part in find_parts(path, retry):
            _refuse_array(part, self.options.encoding)
        return stage(path, prefix, self.shape, self.options, retry)

    def check(self, spark: "SparkSession", files: Sequence[StagedFile]) -> Checked:
        """Compare the keys and the kinds of values of all lines of a file with the declared columns."""
        lines = _valid_lines(spark, files)
        find = partial(find_kinds, frozenset(self.shape.in_file.values()), self.shape.extra == "reject")
        pairs = lines.mapInArrow(find, "file string, key string, kind string")
        with mapped_actions("reading the sources"):
            found = pairs.distinct().collect()
        kinds: dict[str, dict[str, set[str]]] = {}
        for file, key, kind in found:
            kinds.setdefault(file, {}).setdefault(key, set()).add(kind)
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
        declared = {column.in_file(name): column for name, column in self.shape.declared.items()}
        types = {}
        for name, found in kinds.items():
            column, seen = declared.get(name), found - {"null"}
            if column and (not seen or seen & _fitting(column)):
                types[name] = column.type
            else:
                types[name] = " or ".join(sorted(seen)) or "null"
        return types

    def read(self, spark: "SparkSession", files: Sequence[StagedFile], *, brief: bool = False) -> "DataFrame":
        """Parse every line with the declared columns."""
        declared = self.shape.declared
        fitting, points = {n: _fitting(c) for n, c in declared.items()}, _points(declared)
        parse = partial(parse_lines, dict(self.shape.in_file), fitting, points)
        schema = ddl(dict.fromkeys((FILE, TEXT, REASON, *map(text_column, declared)), "string"))
        rows = _valid_lines(spark, files, text_reason(files)).mapInArrow(parse, schema)
        texts = {text_column(n): text_of(F.col(quoted(text_column(n))), column) for n, column in declared.items()}
        # A projection of its own, because Spark would otherwise compute a text again wherever it is used.
        return with_values(rows.withColumns(texts), declared, [F.col(quoted(REASON))], brief=brief)


def _refuse_array(part: Part, encoding: str) -> None:
    """Refuse a file that is one array: all of its lines would be rejected, and no reason would say why."""
    with part.open() as stream:
        start = stream.read(CHUNK_BYTES).decode(encoding, errors="replace").lstrip("\ufeff \t\r\n")
    first, _, rest = start.partition("\n")
    if first.startswith("[") and (not rest.strip() or "array" not in str(decode(first))):
        reason = "it is one JSON array; expected lines of one object each, such as jq -c '.[]' makes of an array"
        raise FileUnreadable(part.name, reason=reason)


def _valid_lines(spark: "SparkSession", files: Sequence[StagedFile], reason: "Expression | None" = None) -> "DataFrame":
    """The lines for Python, which refuses bytes that are not UTF-8: they are replaced."""
    lines = read_lines(spark, files)
    text = F.col(quoted(TEXT)) if all(file.lines.is_utf8 for file in files) else F.make_valid_utf8(quoted(TEXT))
    columns = [F.col(quoted(FILE)), text.alias(TEXT)]
    return lines.select(columns if reason is None else [*columns, reason.alias(REASON)])


def _points(columns: Mapping[str, Column]) -> dict[str, str]:
    """The separator of decimals of the columns whose texts are not written as JSON numbers are."""
    other = {n: c.decimal or ("," if c.thousands == "." else ".") for n, c in columns.items() if c.type != "string"}
    return {name: point for name, point in other.items() if point != "."}


def _fitting(column: Column) -> frozenset[str]:
    """The kinds of JSON values that fit a column."""
    if column.type == "string":
        return frozenset({"string", "number", "boolean", "object", "array"})
    if column.type in FLOATS:
        kinds = {"number", NOT_FINITE}
    elif column.type in INTEGERS:
        kinds = {"number"}
    elif column.type.startswith("decimal"):
        kinds = {"number", "string"}
    else:
        kinds = {"boolean"} if column.type == "boolean" else {"string"}
    # A column that declares how its text is written may be written as text.
    return frozenset(kinds | ({"number", "string"} if column.text_keys else set()))
