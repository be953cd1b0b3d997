"""Converts nested JSON lists to tensors.

The rules and messages are those of TensorFlow Serving's ``util/json_tensor.cc``.
"""

import math
from itertools import chain
from typing import Any, Final

import numpy as np

from serve.errors import BadValue, InvalidRequest
from serve.servables.signatures import TensorInfo
from serve.values.arrays import Array, decode_values
from serve.values.document import describe

MAX_RANK: Final = 32

Shape = tuple[int, ...]


class BadShape(InvalidRequest):
    """Nested lists are not a tensor: a list is too long, too short, or in the place of a value."""


def shape_of(value: Any) -> Shape:
    """The shape of nested lists by their first elements; empty for a plain value.

    Raises:
        BadShape: The lists are nested deeper than `MAX_RANK`.
    """
    shape: list[int] = []
    while type(value) is list:
        shape.append(len(value))
        if len(shape) > MAX_RANK:
            raise BadShape(f"Encountered list at unexpected level: {MAX_RANK} expected < {MAX_RANK}")
        if not value:
            break
        value = value[0]
    return tuple(shape)


def flatten(value: Any, shape: Shape) -> list[Any]:
    """The values of nested lists in row-major order.

    Raises:
        BadShape: They do not have this shape.
    """
    values = [value]
    for level, size in enumerate(shape):
        for item in values:
            if type(item) is not list:
                raise BadShape(
                    f"JSON Value: {describe(item)} found at incorrect level: {level + 1} in the JSON DOM. "
                    f"Expected at level: {len(shape)}"
                )
            if len(item) != size:
                raise BadShape(
                    f"Encountered list at unexpected size: {len(item)} at level: {level} expected size: {size}"
                )
        values = list(chain.from_iterable(values))
    if list in set(map(type, values)):
        raise BadShape(f"Encountered list at unexpected level: {len(shape)} expected < {len(shape)}")
    return values


def decode_tensor(value: Any, info: TensorInfo) -> Array:
    """A value, or nested lists of values, as one tensor.

    Raises:
        BadShape: The lists are ragged.
        BadValue: A value is not of the input's dtype.
    """
    shape = shape_of(value)
    return decode_values(flatten(value, shape), info).reshape(shape)


def decode_rows(rows: list[Any], info: TensorInfo) -> Array:
    """One tensor per row, all of one shape, stacked.

    Raises:
        BadRow: A row is ragged, of another shape than the first, or has a value of another dtype.
    """
    shape = shape_of(rows[0])
    try:
        values = flatten(rows, (len(rows), *shape))
    except BadShape:
        # Slower, but the error names the row.
        return np.stack(_decode_each(rows, info))
    try:
        return decode_values(values, info).reshape(len(rows), *shape)
    except BadValue as error:
        raise BadRow(error.position // max(1, math.prod(shape)), info.name, error.reason) from None


class BadRow(InvalidRequest):
    """The value of a row does not fit an input.

    Attributes:
        row: Its index in the request.
        name: The input.
        reason: What does not fit.
    """

    def __init__(self, row: int, name: str, reason: str) -> None:
        super().__init__(f"row {row}, input '{name}': {reason}")
        self.row = row
        self.name = name
        self.reason = reason


def _decode_each(rows: list[Any], info: TensorInfo) -> list[Array]:
    first: Shape | None = None
    decoded = []
    for number, row in enumerate(rows):
        try:
            tensor = decode_tensor(row, info)
        except (BadShape, BadValue) as error:
            reason = error.reason if isinstance(error, BadValue) else str(error)
            raise BadRow(number, info.name, reason) from None
        first = tensor.shape if first is None else first
        if tensor.size != math.prod(first):
            raise BadRow(number, info.name, f"Expecting tensor size: {math.prod(first)} but got: {tensor.size}")
        if tensor.shape != first:
            raise BadRow(number, info.name, f"Expecting shape {_text(first)} but got: {_text(tensor.shape)}")
        decoded.append(tensor)
    return decoded


def _text(shape: Shape) -> str:
    return f"[{','.join(map(str, shape))}]"
