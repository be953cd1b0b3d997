"""JSON to arrays and back: strict types, bounded messages; shared by every JSON protocol."""

import base64
import binascii
import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from pipelines.features import INT64_MIN, Feature
from serve.errors import BadValue, InvalidRequest

INT64_MAX: Final = 2**63 - 1
MAX_SHOWN: Final = 64
"""Characters of a value that a message shows."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_EXPECTED: Final = {
    "float32": "a number (float32)",
    "float64": "a number (float64)",
    "int64": "an integer (int64)",
    "bool": "true or false",
    "timestamp": "microseconds since 1970 in UTC as an integer, or an ISO 8601 string",
    "string": 'a string or {"b64": ...}',
}
_NUMBERS: Final = frozenset({int, float})
_OPTIONAL_NUMBERS: Final = frozenset({int, float, type(None)})
_INTEGERS: Final = frozenset({int})
_BOOLEANS: Final = frozenset({bool})
_STRINGS: Final = frozenset({str})


def parse_json(body: bytes) -> Any:
    """Parse a request body.

    Takes the tokens NaN, Infinity and -Infinity, and ignores bytes after the document, as TF
    Serving does. Of a key that stands twice the last one counts.

    Raises:
        InvalidRequest: Not JSON, not UTF-8, nested too deep, or a number of thousands of digits.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass  # stricter than the protocol, and five times faster: what it refuses gets a second look
    try:
        return json.JSONDecoder().raw_decode(body.decode("utf-8").lstrip(" \t\r\n\ufeff"))[0]
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        what = "the body is empty" if not body.strip() else f"the body is not JSON: {error.msg}"
        raise InvalidRequest(f"{what}, at line {error.lineno} column {error.colno}") from error
    except RecursionError as error:
        raise InvalidRequest("the body is nested too deep") from error
    except ValueError as error:
        raise InvalidRequest("the body holds a number with too many digits") from error


def describe(value: object) -> str:
    """A value in words, for a message; strings and numbers are cut."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        text = json.dumps(value[:MAX_SHOWN])
        return f"the string {text if len(value) <= MAX_SHOWN else text[:-1] + '…' + text[-1]}"
    if isinstance(value, list | dict):
        return f"a list of {len(value)}" if isinstance(value, list) else f"an object of {len(value)} fields"
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else f"the number {value!r}".replace("inf", "Infinity")
    digits = isinstance(value, int) and abs(value) < 10**MAX_SHOWN
    return f"the number {value}" if digits else f"a number of more than {MAX_SHOWN} digits"


def expected_of(feature: Feature) -> str:
    """What a feature takes, in words."""
    return _EXPECTED[feature.dtype] + (", or null" if feature.nullable else "")


def decode_column(values: list[Any], feature: Feature) -> npt.NDArray[Any]:
    """Turn a column of JSON values into what the model's signature takes.

    Null, and NaN in numbers, is a missing value where the feature allows it.

    Raises:
        BadValue: The first value that does not fit.
    """
    fast = _decode_uniform(values, feature)
    if fast is not None:
        return fast
    dtype = object if feature.tensor_dtype == "string" else feature.tensor_dtype
    return np.array([_decode_value(n, value, feature) for n, value in enumerate(values)], dtype=dtype)


def _decode_uniform(values: list[Any], feature: Feature) -> npt.NDArray[Any] | None:
    """The whole column at once when nothing in it is unusual, else None."""
    kinds = set(map(type, values))
    try:
        if feature.tensor_dtype in ("float32", "float64"):
            return _decode_floats(values, feature, kinds)
        if feature.dtype in ("int64", "timestamp") and kinds == _INTEGERS:
            integers = np.array(values, dtype=np.int64)
            return None if (integers == INT64_MIN).any() else integers
        if feature.dtype == "bool" and kinds == _BOOLEANS:
            return np.array(values, dtype=feature.tensor_dtype)
        if feature.dtype == "string" and kinds == _STRINGS:
            return np.array([value.encode() for value in values], dtype=object)
    except (OverflowError, UnicodeEncodeError):
        return None
    return None


def _decode_floats(values: list[Any], feature: Feature, kinds: set[type]) -> npt.NDArray[Any] | None:
    if not kinds <= (_OPTIONAL_NUMBERS if feature.nullable else _NUMBERS):
        return None
    floats = np.array(values, dtype=np.float64)
    with np.errstate(over="ignore"):
        floats = floats.astype(feature.tensor_dtype, copy=False)
    wrong = np.isinf(floats) if feature.nullable else ~np.isfinite(floats)
    return None if wrong.any() else floats


def _decode_value(position: int, value: Any, feature: Feature) -> Any:
    if feature.nullable and (value is None or _is_nan(value, feature)):
        return _missing(feature)
    decoded = _DECODERS[feature.dtype](value, feature)
    if decoded is None:
        raise BadValue(feature.name, position, expected=expected_of(feature), found=describe(value))
    return decoded


def _is_nan(value: Any, feature: Feature) -> bool:
    return feature.dtype != "string" and isinstance(value, float) and math.isnan(value)


def _missing(feature: Feature) -> Any:
    if feature.tensor_dtype == "string":
        return b""
    return math.nan if feature.tensor_dtype in ("float32", "float64") else INT64_MIN


def _decode_float(value: Any, feature: Feature) -> float | None:
    if type(value) not in _NUMBERS:
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    limit = float(np.finfo(feature.tensor_dtype).max)
    return number if abs(number) <= limit else None


def _decode_integer(value: Any, feature: Feature) -> int | None:
    lowest = INT64_MIN if feature.nullable else INT64_MIN + 1
    return value if type(value) is int and lowest <= value <= INT64_MAX else None


def _decode_boolean(value: Any, feature: Feature) -> bool | int | None:
    # The signature shows a boolean that may be missing as int64: who follows it sends 0 and 1.
    takes_integers = feature.nullable and type(value) is int and value in (0, 1)
    return value if type(value) is bool or takes_integers else None


def _decode_timestamp(value: Any, feature: Feature) -> int | None:
    if type(value) is not str:
        return _decode_integer(value, feature)
    try:
        moment = datetime.fromisoformat(value)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (aware - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        return None


def _decode_string(value: Any, feature: Feature) -> bytes | None:
    try:
        if type(value) is str:
            return value.encode()
        if type(value) is dict and value.keys() == {"b64"} and type(value["b64"]) is str:
            return base64.b64decode(value["b64"], validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        return None
    return None


_DECODERS: Final = {
    "float32": _decode_float,
    "float64": _decode_float,
    "int64": _decode_integer,
    "bool": _decode_boolean,
    "timestamp": _decode_timestamp,
    "string": _decode_string,
}


def encode_column(name: str, values: npt.NDArray[Any]) -> list[Any]:
    """An output as JSON values; numpy scalars stay, so that float32 is written in its shortest form."""
    if values.dtype.kind != "O":
        return list(values)
    if name.endswith("_bytes"):
        return [{"b64": base64.b64encode(value).decode()} for value in values]
    return [value.decode(errors="replace") for value in values]


def dump_json(value: object) -> bytes:
    """JSON bytes of plain values and numpy arrays."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
