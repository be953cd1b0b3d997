"""Converts columns of a table to tensors, and labels to class numbers or values."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millrace.features.encoding import Dictionary, Encoded
from millrace.features.spec import FeatureSpec

UNKNOWN: Final = -1
"""Number of a class that the train split does not have."""
MISSING: Final = -2
"""Number of a missing label in a classification."""


def to_tensor(values: Encoded) -> Any:
    """Convert an encoded column to a tensor.

    For dictionary-encoded strings only the distinct values are converted; `tf.gather` makes the rows from them.
    """
    import tensorflow as tf

    if isinstance(values, Dictionary):
        words = tf.constant(values.values, dtype=tf.string) if len(values.values) else tf.constant([""])
        return tf.gather(words, values.indices)
    return tf.constant(values)


def encode_labels(column: pa.Array, spec: FeatureSpec) -> npt.NDArray[Any]:
    """Convert labels to class numbers (int32), or to float64 values for a regression.

    A class that the train split does not have is `UNKNOWN`. A missing label is `MISSING`, in a regression NaN; values
    that are not finite or too large for a float32 are missing, as in the statistics.
    """
    if spec.label.task == "regression":
        values = pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):
            return np.where(np.isfinite(values.astype(np.float32)), values, np.nan)
    is_text = isinstance(spec.label.classes[0], str)
    known = pa.array(spec.label.classes, pa.string() if is_text else pa.int64())
    numbers = pc.index_in(column.cast(known.type), value_set=known)
    numbers = pc.if_else(column.is_null(), MISSING, pc.fill_null(numbers, UNKNOWN))
    return np.asarray(numbers.cast(pa.int32()))


def is_known(labels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """True for each encoded label that a model can be compared with: neither missing nor of an unknown class."""
    known: npt.NDArray[np.bool_] = np.isfinite(labels) if labels.dtype.kind == "f" else labels >= 0
    return known
