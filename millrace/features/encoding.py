"""A table's columns as a model's signature takes them; one encoding of missing values for every stage.

NaN for floats, `INT64_MIN` for integers, booleans that may be missing and timestamps (microseconds UTC), the empty
string for strings.
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
"""The missing value of every integer dtype."""


@dataclass(frozen=True)
class Dictionary:
    """A string column as distinct values and a position for each row, so that no string is copied per row."""

    values: npt.NDArray[np.object_]
    indices: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.indices)


Encoded = npt.NDArray[np.generic] | Dictionary


def encode(column: pa.Array | pa.ChunkedArray, feature: Feature) -> Encoded:
    """Turn a table's column into what a model's signature takes, missing values included.

    Raises:
        FeatureMismatch: The column's type cannot hold the feature, or a value is missing that must not be.
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
