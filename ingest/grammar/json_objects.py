"""Takes the texts of the declared columns out of JSON lines, each of which must be one object."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import pyarrow as pa

from ingest.spark.columns import FILE, REASON, SHOWN_VALUE, TEXT, text_column

Batches = Iterator[pa.RecordBatch]

NOT_FINITE: Final = "NaN or infinity"
_NO_OBJECT: Final = "the line is not one JSON object"
MOST_OTHERS: Final = 1_000
"""Most keys that are not declared that are listed for a batch of lines."""


class _Number(str):
    """A JSON number as it is written."""

    __slots__ = ()


class _NotFinite(_Number):
    """NaN or an infinity, which is no JSON; a float column gives a better reason for it than the parser."""

    __slots__ = ()


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
            values = decode(text)
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


def parse_lines(
    in_file: Mapping[str, str], fitting: Mapping[str, frozenset[str]], points: Mapping[str, str], batches: Batches
) -> Batches:
    """Take the text of every declared column out of the lines.

    Args:
        in_file: The key of each column.
        fitting: The kinds of values that each column may have.
        points: The separator of decimals in the texts of some columns; a JSON number has always a point.
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
            values = reason or decode(line)
            found = values if isinstance(values, str) else _texts(values, in_file, fitting, points)
            reasons.append(found if isinstance(found, str) else None)
            for column, text in zip(columns, nothing if isinstance(found, str) else found, strict=True):
                column.append(text)
        arrays = [files, lines, *(pa.array(column, pa.string()) for column in (reasons, *columns))]
        yield pa.RecordBatch.from_arrays(arrays, [FILE, TEXT, REASON, *map(text_column, in_file)])


def decode(line: str) -> dict[str, Any] | str:
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
    values: Mapping[str, Any],
    in_file: Mapping[str, str],
    fitting: Mapping[str, frozenset[str]],
    points: Mapping[str, str],
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
        if kind == NOT_FINITE and kind not in fitting[name]:
            return f"column '{name}': {text} is not JSON"
        if kind not in fitting[name]:
            wanted = " or ".join(sorted(fitting[name] - {NOT_FINITE}))
            return f"column '{name}': '{text[:SHOWN_VALUE]}' is a JSON {kind}, expected a {wanted}"
        texts.append(text.replace(".", points[name]) if kind == "number" and name in points else text)
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
        return NOT_FINITE
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
