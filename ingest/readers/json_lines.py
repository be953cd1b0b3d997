"""Parses JSON lines: each line is an object; its keys and types are compared with the declared columns.

Python's parser reads the lines, on the executors. Spark's own reads the first object of a line and ignores the rest,
takes the last of two equal keys, accepts single quotes, and rounds numbers that become text. `ingest.grammar` decides
about the values.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from pyspark.sql import functions as F

from ingest.errors import ColumnsMismatch, FileUnreadable
from ingest.grammar.parse import text_of
from ingest.readers import Checked
from ingest.readers.raw import read_lines, text_column, text_reason, with_values
from ingest.spark.columns import FILE, REASON, SHOWN_VALUE, TEXT, ddl, quoted
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

Batches = Iterator[pa.RecordBatch]

_NOT_FINITE: Final = "NaN or infinity"
_NO_OBJECT: Final = "the line is not one JSON object"
MOST_OTHERS: Final = 1_000
"""Most keys that are not declared that are listed for a batch of lines."""


class _Number(str):
    """A JSON number as it is written."""

    __slots__ = ()


class _NotFinite(_Number):
    """NaN or an infinity, which is no JSON; a float column gives a better reason for it than the parser."""

    __slots__ = ()


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
        parse = partial(parse_lines, dict(self.shape.in_file), {n: _fitting(c) for n, c in declared.items()})
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
    if first.startswith("[") and (not rest.strip() or "array" not in str(_decode(first))):
        reason = "it is one JSON array; expected lines of one object each, such as jq -c '.[]' makes of an array"
        raise FileUnreadable(part.name, reason=reason)


def _valid_lines(spark: "SparkSession", files: Sequence[StagedFile], reason: "Expression | None" = None) -> "DataFrame":
    """The lines for Python, which refuses bytes that are not UTF-8: they are replaced."""
    lines = read_lines(spark, files)
    text = F.col(quoted(TEXT)) if all(file.lines.is_utf8 for file in files) else F.make_valid_utf8(quoted(TEXT))
    columns = [F.col(quoted(FILE)), text.alias(TEXT)]
    return lines.select(columns if reason is None else [*columns, reason.alias(REASON)])


def find_kinds(declared: frozenset[str], with_others: bool, batches: Batches) -> Batches:
    """Find the keys of the lines and the kinds of their values, each once for each file and batch.

    Args:
        declared: The keys of the declared columns.
        with_others: Find other keys, too; only some of them, because keys that are ids may be as many as the rows.
        batches: The file and the text of each line.
    """
    for batch in batches:
        found = dict[tuple[str, str, str], None]()
        others = 0
        for file, text in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            values = _decode(text)
            if isinstance(values, dict):  # another line is a malformed row, not a bad file
                for key, value in values.items():
                    if key in declared:
                        found[file, key, _kind(value)] = None
                    elif with_others and others < MOST_OTHERS:
                        others += 1
                        found[file, key, _kind(value)] = None
        columns = zip(*found, strict=True) if found else ((), (), ())
        arrays = [pa.array(column, pa.string()) for column in columns]
        yield pa.RecordBatch.from_arrays(arrays, ["file", "key", "kind"])


def parse_lines(in_file: Mapping[str, str], fitting: Mapping[str, frozenset[str]], batches: Batches) -> Batches:
    """Take the text of every declared column out of the lines.

    Args:
        in_file: The key of each column.
        fitting: The kinds of values that each column may have.
        batches: File and text of each line, and the reason to reject it, if there is one already.

    Returns:
        File, text and reason of each line, and the text of each column; null if there is none.
    """
    for batch in batches:
        files, lines, known = batch.columns
        reasons: list[str | None] = []
        columns: list[list[str | None]] = [[] for _ in in_file]
        nothing: list[str | None] = [None] * len(columns)
        for line, reason in zip(lines.to_pylist(), known.to_pylist(), strict=True):
            values = reason or _decode(line)
            found = values if isinstance(values, str) else _texts(values, in_file, fitting)
            reasons.append(found if isinstance(found, str) else None)
            for column, text in zip(columns, nothing if isinstance(found, str) else found, strict=True):
                column.append(text)
        arrays = [files, lines, *(pa.array(column, pa.string()) for column in (reasons, *columns))]
        yield pa.RecordBatch.from_arrays(arrays, [FILE, TEXT, REASON, *map(text_column, in_file)])


def _decode(line: str) -> dict[str, Any] | str:
    """Parse a line; the reason why it is not one object otherwise."""
    try:
        values = _DECODER.decode(line)
    except (json.JSONDecodeError, RecursionError) as error:
        if isinstance(error, RecursionError):
            return f"{_NO_OBJECT}: nested too deeply"
        what = error.msg.removesuffix(" at")
        return f"{_NO_OBJECT}: {what[0].lower()}{what[1:]} at character {error.pos + 1}"
    except ValueError as error:
        return str(error)  # of `_pairs`
    return values if isinstance(values, dict) else f"{_NO_OBJECT}: {_kind(values)}"


def _texts(
    values: Mapping[str, Any], in_file: Mapping[str, str], fitting: Mapping[str, frozenset[str]]
) -> "list[str | None] | str":
    """The texts of the declared columns, or the reason to reject the line."""
    texts: list[str | None] = []
    for name, key in in_file.items():
        value = values.get(key)
        if value is None:
            texts.append(None)
            continue
        try:
            text, kind = _write(value), _kind(value)
        except RecursionError:
            return f"column '{name}': nested too deeply"
        except ValueError as error:
            return f"column '{name}': {error}"
        if not text.isprintable() and ("\0" in text or _has_half(text)):
            return f"column '{name}': a NUL character" if "\0" in text else f"column '{name}': half a character"
        if kind == _NOT_FINITE and kind not in fitting[name]:
            return f"column '{name}': {text} is not JSON"
        if kind not in fitting[name]:
            wanted = " or ".join(sorted(fitting[name] - {_NOT_FINITE}))
            return f"column '{name}': '{text[:SHOWN_VALUE]}' is a JSON {kind}, expected a {wanted}"
        texts.append(text)
    return texts


def _has_half(text: str) -> bool:
    """Whether there is half of a pair of surrogates, which no encoding can hold."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def _pairs(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    values = dict[str, Any]()
    for key, value in pairs:
        if key in values:
            raise ValueError("a key occurs twice in an object")
        if not key.isprintable() and _has_half(key):
            raise ValueError("half a character in a key")
        values[key] = value
    return values


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_float=_Number, parse_int=_Number, parse_constant=_NotFinite
)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, _NotFinite):
        return _NOT_FINITE
    if isinstance(value, str):
        return "number" if isinstance(value, _Number) else "string"
    return "object" if isinstance(value, dict) else "array"


def _write(value: Any) -> str:
    """The text of a value: of a string its content, else compact JSON with numbers as they were written."""
    if isinstance(value, str):
        return str(value)
    return _write_json(value)


def _write_json(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k, ensure_ascii=False)}:{_write_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_write_json, value)) + "]"
    if isinstance(value, _NotFinite):
        raise ValueError(f"{value} is not JSON")
    return str(value) if isinstance(value, _Number) else json.dumps(value, ensure_ascii=False)


def _fitting(column: Column) -> frozenset[str]:
    """The kinds of JSON values that fit a column."""
    if column.type == "string":
        return frozenset({"string", "number", "boolean", "object", "array"})
    if column.type in FLOATS:
        kinds = {"number", _NOT_FINITE}
    elif column.type in INTEGERS:
        kinds = {"number"}
    elif column.type.startswith("decimal"):
        kinds = {"number", "string"}
    else:
        kinds = {"boolean"} if column.type == "boolean" else {"string"}
    # A column that declares how its text is written may be written as text.
    return frozenset(kinds | ({"number", "string"} if column.text_keys else set()))
