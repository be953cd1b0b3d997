"""Columns of a table as tensors, and labels as the loss takes them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from millrace.features.encoding import Dictionary, Encoded
from millrace.features.spec import FeatureSpec


def to_tensor(values: Encoded) -> Any:
    """A column as a tensor; a dictionary is gathered, so that no string is converted per row."""
    import tensorflow as tf

    if isinstance(values, Dictionary):
        words = tf.constant(values.values, dtype=tf.string) if len(values.values) else tf.constant([""])
        return tf.gather(words, values.indices)
    return tf.constant(values)


def encode_labels(values: npt.NDArray[np.generic], spec: FeatureSpec) -> npt.NDArray[np.generic]:
    """Labels as the loss takes them: class numbers (int32), or float32 values.

    A class that the train split does not have gets number -1.
    """
    if spec.label.task == "regression":
        return values.astype(np.float32)
    numbers = {value: number for number, value in enumerate(spec.label.classes)}
    keys = values.astype(np.int64).tolist() if isinstance(spec.label.classes[0], int) else values.tolist()
    return np.array([numbers.get(key, -1) for key in keys], np.int32)
