"""JSON bytes to values and back, and values in messages."""

import json
import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import orjson

from serve.errors import InvalidRequest

MAX_SHOWN: Final = 64
"""Most characters of a value in a message."""
_KINDS: Final = {type(None): "Null", str: "String", list: "Array", dict: "Object"}


def parse_json(body: bytes | memoryview, *, ignore_rest: bool = True) -> Any:
    """Parse a request body.

    As TensorFlow Serving, it accepts the tokens NaN, Infinity and -Infinity and ignores bytes after the document. Of a
    key that occurs twice, the last one counts.

    Args:
        body: UTF-8.
        ignore_rest: Whether bytes after the document are ignored instead of refused.

    Raises:
        InvalidRequest: Not JSON, not UTF-8, nested too deep, or a number of thousands of digits.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass  # five times faster, but stricter than the protocol: parse what it refuses again
    try:
        text = bytes(body).decode("utf-8").lstrip(" \t\r\n\ufeff")
        document, end = json.JSONDecoder(parse_float=_parse_float).raw_decode(text)
        if not ignore_rest and text[end:].strip():
            raise InvalidRequest(f"JSON Parse error: unexpected text after the document at character {end}")
        return document
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"JSON Parse error: the body is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        what = "The document is empty" if not bytes(body).strip() else f"Invalid value: {error.msg}"
        where = f"at line {error.lineno} column {error.colno}"
        raise InvalidRequest(f"JSON Parse error: {what}, {where}") from error
    except RecursionError as error:
        raise InvalidRequest("JSON Parse error: nested too deep") from error
    except ValueError as error:
        raise InvalidRequest("JSON Parse error: a number with too many digits") from error


def _parse_float(text: str) -> float:
    """A number with a fraction or an exponent; as RapidJSON, the parser of TensorFlow Serving, no infinite one."""
    number = float(text)
    if math.isinf(number):
        raise InvalidRequest(f"JSON Parse error: {text[:MAX_SHOWN]} is too big to be stored in double")
    return number


def describe(value: object) -> str:
    """A value as JSON, cut to `MAX_SHOWN` characters. A large value is not encoded as a whole first."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**MAX_SHOWN:
        return f"a number of more than {MAX_SHOWN} digits"
    if isinstance(value, str):
        value = value[: MAX_SHOWN + 1]
    text = ""
    for piece in _pieces(value):
        text += piece[: MAX_SHOWN + 1]
        if len(text) > MAX_SHOWN:
            return f"{text[:MAX_SHOWN]}…"
    return text


def _pieces(value: object) -> Iterator[str]:
    """The JSON of a value, piece by piece; `json.JSONEncoder.iterencode` leaves a reference cycle behind."""
    if isinstance(value, dict):
        yield "{"
        for number, (key, item) in enumerate(value.items()):
            yield f"{', ' if number else ''}{json.dumps(key, ensure_ascii=False)}: "
            yield from _pieces(item)
        yield "}"
    elif isinstance(value, list):
        yield "["
        for number, item in enumerate(value):
            if number:
                yield ", "
            yield from _pieces(item)
        yield "]"
    else:
        yield json.dumps(value, ensure_ascii=False)


def kind_of(value: object) -> str:
    """TensorFlow Serving's name for the JSON type of a value."""
    if isinstance(value, bool):
        return "True" if value else "False"
    return _KINDS.get(type(value), "Number")


def dump_json(value: object, *, non_finite: bool = False) -> bytes:
    """JSON bytes of plain values and numpy arrays.

    Args:
        value: The value; a float32 is written in its shortest form.
        non_finite: Write NaN and infinity as bare tokens, as TensorFlow Serving does, which is not JSON; else as null.
    """
    # Half a surrogate pair, which the client sent: JSON can escape it, UTF-8 cannot encode it.
    try:
        if non_finite:
            return json.dumps(value, default=_plain, ensure_ascii=False, separators=(",", ":")).encode()
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    except (orjson.JSONEncodeError, UnicodeEncodeError):
        return json.dumps(value, default=_plain, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    """A numpy value for `json.dumps`; a float32 as its shortest decimal."""
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value] if value.ndim else _plain(value[()])
    return float(str(value)) if isinstance(value, np.floating) else value.item()
