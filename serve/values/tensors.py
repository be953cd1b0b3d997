"""The Open Inference Protocol's tensors: values as JSON or as little-endian bytes.

Source: Triton's ``docs/protocol/extension_binary_data.md``.
"""

import math
import struct
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from millrace.features.encoding import INT64_MIN
from serve.errors import InvalidRequest
from serve.servables.signatures import DATATYPES, TensorInfo
from serve.values.arrays import Array
from serve.values.nested import flatten

BINARY_ONLY: Final = frozenset({"float16", "bfloat16"})
"""Dtypes without a form in JSON."""
_LENGTH: Final = struct.Struct("<I")


def datatype_of(dtype: str) -> str:
    """The protocol's datatype for a dtype.

    Raises:
        InvalidRequest: There is none.
    """
    if dtype not in DATATYPES:
        raise InvalidRequest(f"the protocol has no datatype for {dtype}")
    return DATATYPES[dtype]


def dtype_of(values: Array) -> str:
    """The dtype of an array, strings included."""
    return _name_of(values.dtype)


@cache
def _name_of(dtype: "np.dtype[Any]") -> str:  # numpy computes a dtype's name each time
    return "string" if dtype.kind == "O" else dtype.name


def flat_values(data: Any, shape: tuple[int, ...], info: TensorInfo) -> list[Any]:
    """The values of a tensor's ``data``, flat or nested, in row-major order.

    Raises:
        InvalidRequest: Its size is not that of the shape, the lists are ragged, or JSON has no form for the dtype.
    """
    if info.dtype in BINARY_ONLY:
        raise InvalidRequest(f"{DATATYPES[info.dtype]} data via JSON is not supported: send it as binary")
    if not isinstance(data, list):
        raise InvalidRequest("'data' is not a list")
    values = (
        flatten(data, shape) if data and isinstance(data[0], list) and len(shape) > 1 else flatten(data, (len(data),))
    )
    if len(values) != math.prod(shape):
        raise InvalidRequest(f"expected {math.prod(shape)} values for shape {list(shape)}, found {len(values)}")
    return values


def decode_binary(data: memoryview, shape: tuple[int, ...], info: TensorInfo) -> Array:
    """Convert bytes to an array over the same memory; strings are copied one by one.

    Raises:
        InvalidRequest: The number of bytes does not fit the shape, or a value does not fit the input.
    """
    count = math.prod(shape)
    if info.dtype == "string":
        values = _split_strings(data, count)
    else:
        dtype = numpy_dtype(info.dtype)
        if len(data) != count * dtype.itemsize:
            raise InvalidRequest(
                f"expected {count * dtype.itemsize} bytes for shape {list(shape)} "
                f"and datatype {DATATYPES[info.dtype]}, found {len(data)}"
            )
        values = np.frombuffer(data, dtype)
        if info.dtype == "bool":
            raw = values.view(np.uint8)
            if (raw > 1).any():
                raise InvalidRequest("a BOOL is a byte of 0 or 1, found another")
    wrong = unfit(values, info)
    if wrong.any():
        position = int(np.flatnonzero(wrong)[0])
        raise InvalidRequest(f"value {position}: {values[position]} is not accepted")
    return values.reshape(shape)


def unfit(values: Array, info: TensorInfo) -> npt.NDArray[np.bool_]:
    """A mask of the flat values that the feature does not accept: missing ones unless nullable, and infinity."""
    feature = info.feature
    if feature is not None and values.dtype.kind == "f":
        return np.isinf(values) if feature.nullable else ~np.isfinite(values)
    if feature is not None and values.dtype == np.int64:
        if feature.dtype == "bool":
            return np.asarray((values != 0) & (values != 1) & (values != INT64_MIN))
        if not feature.nullable:
            return np.asarray(values == INT64_MIN)
    return np.zeros(1, np.bool_)


def _split_strings(data: memoryview, count: int) -> Array:
    if count * _LENGTH.size > len(data):
        raise InvalidRequest(f"expected {count} strings, found {len(data)} bytes")
    values = np.empty(count, object)
    position = 0
    for number in range(count):
        start = position + _LENGTH.size
        if start > len(data):
            raise InvalidRequest(f"expected {count} strings, found the bytes of {number}")
        position = start + _LENGTH.unpack_from(data, position)[0]
        if position > len(data):
            raise InvalidRequest(f"string {number} is longer than the bytes that are left")
        values[number] = bytes(data[start:position])
    if position != len(data):
        raise InvalidRequest(f"{len(data) - position} bytes are left after {count} strings")
    return values


def numpy_dtype(dtype: str) -> "np.dtype[Any]":
    """The little-endian type of arrays of a dtype that is not a string.

    Raises:
        InvalidRequest: Numpy has none.
    """
    if dtype == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    try:
        return np.dtype(dtype).newbyteorder("<")
    except TypeError as error:
        raise InvalidRequest(f"arrays cannot have the dtype {dtype}") from error


def encode_binary(values: Array) -> bytes:
    """The bytes of an array: little-endian, row-major, each string after its length."""
    if values.dtype.kind != "O":
        return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    pieces = []
    for value in values.ravel():
        pieces += [_LENGTH.pack(len(value)), value]
    return b"".join(pieces)


def encode_json(name: str, values: Array) -> Any:
    """An output's ``data``: one flat list.

    Raises:
        InvalidRequest: JSON has no form for it: NaN, infinity, half floats, or strings that are not UTF-8.
    """
    dtype = dtype_of(values)
    binary = '; ask for it as binary: "parameters": {"binary_data": true}'
    if dtype in BINARY_ONLY:
        raise InvalidRequest(f"output '{name}': {DATATYPES[dtype]} data via JSON is not supported{binary}")
    flat = values.ravel()
    if dtype == "string":
        try:
            return [value.decode() for value in flat]
        except UnicodeDecodeError:
            raise InvalidRequest(f'output \'{name}\' is not UTF-8{binary}, or {{"content_type": "base64"}}') from None
    if flat.dtype.kind == "f" and not np.isfinite(flat).all():
        raise InvalidRequest(f"output '{name}' has NaN or infinity, which JSON cannot represent{binary}")
    return flat
