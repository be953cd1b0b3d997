"""JSON values to arrays and back: strict types, bounded messages; shared by every JSON protocol.

Messages are TensorFlow Serving's where it has one (``util/json_tensor.cc``), with values cut at 64 characters.
"""

import base64
import binascii
import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from millrace.features.encoding import INT64_MIN
from millrace.features.spec import Feature
from millrace.features.timestamps import microseconds_of
from serve.errors import BadValue, InvalidRequest
from serve.servables.signatures import TensorInfo
from serve.values.document import describe, kind_of

Array = npt.NDArray[Any]

TENSORFLOW_NAMES: Final = {"float32": "float", "float64": "double", "float16": "half"}
"""TensorFlow's names of dtypes, where they differ from numpy's."""

_WHOLE: Final = 2**1000
"""`float` accepts all integers below this, though it may round them."""
FEW: Final = 8
"""Up to this many values, checking one by one is faster than numpy."""
_FLOATS: Final = {"float32", "float64"}
_NUMBERS: Final = frozenset({int, float})
_OPTIONAL_NUMBERS: Final = frozenset({int, float, type(None)})
_INTEGERS: Final = frozenset({int})
_BOOLEANS: Final = frozenset({bool})
_STRINGS: Final = frozenset({str})
_EXACT: Final = {"float32": 2**24 - 1, "float64": 2**53 - 1}
"""The largest absolute value of an integer that a float input of our models takes: the mantissa's bits."""


def type_name(info: TensorInfo) -> str:
    """The name of the values that an input accepts: TensorFlow's dtype, and what the feature adds."""
    name = TENSORFLOW_NAMES.get(info.dtype, info.dtype)
    feature = info.feature
    if feature is None:
        return name
    more = [] if feature.dtype == info.dtype else [f"a {feature.dtype}"]
    if feature.dtype == "timestamp":
        more = ["microseconds since 1970 in UTC, or an ISO 8601 string"]
    if feature.nullable:
        more.append("null")
    return f"{name}, or {', '.join(more)}" if more else name


def decode_values(values: list[Any], info: TensorInfo, *, exact: bool = True) -> Array:
    """Convert JSON values, without lists, to a flat array of an input's dtype.

    Null, and NaN for numbers, is a missing value where the feature allows it.

    A float input of a model of another system takes every number: it is rounded, and infinite if it is too large, as in
    TensorFlow Serving. Our models refuse a number that is too large, since it never was in their training data.

    Args:
        values: The parsed values.
        info: The input.
        exact: Whether our models refuse an integer that a float cannot represent exactly.

    Raises:
        BadValue: The first value that does not fit.
    """
    if not exact and info.dtype in _FLOATS and int in map(type, values):
        values = [float(value) if type(value) is int and abs(value) < _WHOLE else value for value in values]
    fast = _decode_uniform(values, info) if len(values) > FEW else None
    if fast is not None:
        return fast
    dtype = object if info.dtype == "string" else info.dtype
    decoded = [_decode_value(number, value, info) for number, value in enumerate(values)]
    with np.errstate(over="ignore"):
        return np.array(decoded, dtype=dtype)


def _decode_uniform(values: list[Any], info: TensorInfo) -> Array | None:
    """Convert all values at once if none of them is unusual, else return None."""
    kinds = set(map(type, values))
    try:
        if info.dtype in _FLOATS:
            return _decode_floats(values, info, kinds)
        if info.dtype == "bool":
            return np.array(values, dtype=np.bool_) if kinds <= _BOOLEANS else None
        if info.dtype == "string":
            return np.array([value.encode() for value in values], dtype=object) if kinds <= _STRINGS else None
        if kinds <= _INTEGERS:
            return _decode_integers(values, info)
    except (OverflowError, UnicodeEncodeError):
        return None
    return None


def _decode_floats(values: list[Any], info: TensorInfo, kinds: set[type]) -> Array | None:
    feature = info.feature
    if not kinds <= (_OPTIONAL_NUMBERS if feature and feature.nullable else _NUMBERS):
        return None
    wide = np.array(values, dtype=np.float64)
    with np.errstate(over="ignore"):
        floats: Array = wide.astype(info.dtype, copy=False)
    if feature is None:
        return floats
    if int in kinds and (np.abs(wide) > _EXACT[info.dtype]).any():
        return None
    wrong = np.isinf(floats) if feature.nullable else ~np.isfinite(floats)
    return None if wrong.any() else floats


def _decode_integers(values: list[Any], info: TensorInfo) -> Array | None:
    if info.dtype == "uint64":
        return np.array(values, dtype=np.uint64)
    integers = np.array(values, dtype=np.int64)
    if info.feature is not None:
        return None if info.feature.dtype == "bool" or (integers == INT64_MIN).any() else integers
    limits = np.iinfo(info.dtype)
    return None if ((integers < limits.min) | (integers > limits.max)).any() else integers.astype(info.dtype)


def _decode_value(position: int, value: Any, info: TensorInfo) -> Any:
    feature = info.feature
    if feature is not None and feature.nullable and (value is None or _is_nan(value, feature)):
        return _missing(feature)
    if info.dtype in _FLOATS:
        return _decode_float(position, value, info)
    if info.dtype == "string":
        return _decode_string(position, value, info)
    if info.dtype == "bool" or (feature is not None and feature.dtype == "bool"):
        return _decode_boolean(position, value, info)
    if feature is not None and feature.dtype == "timestamp" and type(value) is str:
        return _decode_timestamp(position, value, info)
    return _decode_integer(position, value, info)


def _mistyped(position: int, value: Any, info: TensorInfo) -> BadValue:
    found = f"JSON Value: {describe(value)} Type: {kind_of(value)}"
    return BadValue(info.name, position, f"{found} is not of expected type: {type_name(info)}")


def _is_nan(value: Any, feature: Feature) -> bool:
    return feature.dtype != "string" and isinstance(value, float) and math.isnan(value)


def _missing(feature: Feature) -> Any:
    if feature.tensor_dtype == "string":
        return b""
    return math.nan if feature.tensor_dtype in _FLOATS else INT64_MIN


def _decode_float(position: int, value: Any, info: TensorInfo) -> float:
    if type(value) not in _NUMBERS:
        raise _mistyped(position, value, info)
    name = TENSORFLOW_NAMES[info.dtype]
    if info.feature is None:
        try:
            return float(value)
        except OverflowError:
            raise BadValue(info.name, position, f"{describe(value)} is too big to be stored in {name}") from None
    if type(value) is float and not math.isfinite(value):
        raise _mistyped(position, value, info)
    limit = _EXACT[info.dtype] if type(value) is int else float(np.finfo(info.dtype).max)
    if abs(value) > limit:
        lost = f"Cannot convert JSON value: {describe(value)} to {name} without loss of precision."
        raise BadValue(info.name, position, lost)
    return float(value)


def _lossy(position: int, value: Any, info: TensorInfo) -> BadValue:
    name = TENSORFLOW_NAMES[info.dtype]
    lost = f"Cannot convert JSON value: {describe(value)} to {name} without loss of precision."
    return BadValue(info.name, position, lost)


def _decode_integer(position: int, value: Any, info: TensorInfo) -> int:
    limits = np.iinfo(info.dtype)
    lowest = limits.min + 1 if info.feature is not None and not info.feature.nullable else limits.min
    if type(value) is not int or not lowest <= value <= limits.max:
        raise _mistyped(position, value, info)
    return value


def _decode_boolean(position: int, value: Any, info: TensorInfo) -> bool | int:
    # A nullable boolean is int64 in the signature: clients that follow it send 0 and 1.
    takes_integers = info.dtype != "bool"
    if type(value) is bool or (takes_integers and type(value) is int and value in (0, 1)):
        return value
    raise _mistyped(position, value, info)


def _decode_timestamp(position: int, value: str, info: TensorInfo) -> int:
    try:
        return microseconds_of(value)
    except (ValueError, OverflowError):
        raise _mistyped(position, value, info) from None


def _decode_string(position: int, value: Any, info: TensorInfo) -> bytes:
    try:
        if type(value) is str:
            return value.encode()
        if type(value) is dict:
            return decode_base64(value)
    except BadBase64 as error:
        raise BadValue(info.name, position, str(error)) from None
    except UnicodeEncodeError:
        pass
    raise _mistyped(position, value, info)


class BadBase64(InvalidRequest):
    """An object is not a valid ``{"b64": "..."}``."""


def decode_base64(value: dict[str, Any]) -> bytes:
    """The bytes of a ``{"b64": "..."}``.

    Raises:
        BadBase64: It has other keys, or its text is not base64.
    """
    if value.keys() != {"b64"} or type(value["b64"]) is not str:
        raise BadBase64(f"JSON Value: {describe(value)} not formatted correctly for base64 data")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError):
        raise BadBase64("Unable to base64 decode") from None


def is_plain(value: object) -> bool:
    """Whether a value is not an object, or is ``{"b64": "..."}``."""
    return type(value) is not dict or (value.keys() == {"b64"} and type(value["b64"]) is str)


def encode_values(name: str, values: Array) -> Any:
    """Convert an output for `dump_json`; strings of an output named ``..._bytes`` become base64."""
    if values.dtype.kind != "O":
        return np.ascontiguousarray(values) if values.ndim else values[()]
    if name.endswith("_bytes"):
        return _map_strings(values.tolist(), lambda value: {"b64": base64.b64encode(value).decode()})
    return _map_strings(values.tolist(), lambda value: value.decode(errors="replace"))


def _map_strings(values: Any, change: Any) -> Any:
    return [_map_strings(value, change) for value in values] if isinstance(values, list) else change(values)
