"""Encodes a table's columns for a model's signature, with the same missing values in every stage.

A missing value is NaN for floats, the empty string for strings, and `INT64_MIN` for integers, timestamps (microseconds
in UTC) and booleans that may be missing.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millrace.errors import FeatureMismatch
from millrace.features.spec import Feature

INT64_MIN: Final = -(2**63)
"""The missing value of every integer type."""


@dataclass(frozen=True)
class Dictionary:
    """A string column as distinct values and an index for each row, so that no string is copied per row."""

    values: npt.NDArray[np.object_]
    indices: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.indices)


Encoded = npt.NDArray[np.generic] | Dictionary


def encode(column: pa.Array | pa.ChunkedArray, feature: Feature) -> Encoded:
    """Encode a table's column, missing values included, for a model's signature.

    Raises:
        FeatureMismatch: The column's type does not fit the feature, or a required value is missing.
    """
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if column.null_count and not feature.nullable:
        raise FeatureMismatch(feature.name, expected="no missing value", found=f"{column.null_count} missing values")
    try:
        return _encode(column, feature)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise FeatureMismatch(feature.name, expected=feature.dtype, found=str(column.type)) from error


def _encode(column: pa.Array, feature: Feature) -> Encoded:
    if feature.dtype == "string":
        encoded = pc.dictionary_encode(pc.fill_null(column.cast(pa.string()), ""))
        values = np.asarray(encoded.dictionary.to_numpy(zero_copy_only=False), dtype=object)
        return Dictionary(values, encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False))
    if feature.dtype == "timestamp":
        column = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    if feature.tensor_dtype in ("float32", "float64"):
        target = pa.float32() if feature.tensor_dtype == "float32" else pa.float64()
        filled = pc.fill_null(column.cast(target), float("nan"))
    elif feature.tensor_dtype == "bool":
        filled = column.cast(pa.bool_())
    else:
        filled = pc.fill_null(column.cast(pa.int64()), INT64_MIN)
    return np.asarray(filled.to_numpy(zero_copy_only=False))
