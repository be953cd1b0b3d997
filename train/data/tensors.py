"""Converts columns of a table to tensors, and labels to class numbers or values."""

from typing import Any

import numpy as np
import numpy.typing as npt

from millrace.features.encoding import Dictionary, Encoded
from millrace.features.spec import FeatureSpec


def to_tensor(values: Encoded) -> Any:
    """Convert an encoded column to a tensor.

    For dictionary-encoded strings only the distinct values are converted; `tf.gather` makes the rows from them.
    """
    import tensorflow as tf

    if isinstance(values, Dictionary):
        words = tf.constant(values.values, dtype=tf.string) if len(values.values) else tf.constant([""])
        return tf.gather(words, values.indices)
    return tf.constant(values)


def encode_labels(values: npt.NDArray[np.generic], spec: FeatureSpec) -> npt.NDArray[np.generic]:
    """Convert labels to class numbers (int32), or to float32 values for a regression.

    A class that is not in the train split gets number -1.
    """
    if spec.label.task == "regression":
        return values.astype(np.float32)
    numbers = {value: number for number, value in enumerate(spec.label.classes)}
    keys = values.astype(np.int64).tolist() if isinstance(spec.label.classes[0], int) else values.tolist()
    return np.array([numbers.get(key, -1) for key in keys], np.int32)
