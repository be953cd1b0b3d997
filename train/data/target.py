"""The label as the loss takes it, and the scores of a regression as values."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from millrace.features.spec import Label
from train.data.rows import Array
from train.data.tensors import is_known
from train.preprocessing.statistics import LabelStatistics

THRESHOLD: Final = 0.5
"""Smallest probability of the second class for which the output ``class`` is the second class."""


@dataclass(frozen=True)
class Target:
    """Converts encoded labels to values of the loss, names the loss, and converts scores back.

    A regression learns standardised values, or standardised values of log(1 + value); with the Poisson loss the score
    is the logarithm of the value divided by the mean. In all of them a score of 0 is a prediction near the mean.

    Attributes:
        label: Task, and how a regression learns.
        statistics: Of the label in the train split.
    """

    label: Label
    statistics: LabelStatistics

    @property
    def dtype(self) -> str:
        """The dtype of `convert`'s result."""
        return "int32" if self.label.task == "multiclass" else "float32"

    def convert(self, label: Array) -> Array:
        """Class numbers for classes, scaled values for a regression; 0 or a usual value for labels not known."""
        if self.label.task != "regression":
            numbers: Array = np.where(is_known(label), label, 0).astype(self.dtype)
            return numbers
        found = self.statistics
        values: Array = np.where(is_known(label), label, found.mean)
        if self.label.loss == "poisson":
            return (values / found.mean).astype(np.float32)
        if self.label.log:
            return ((np.log1p(values) - found.log_mean) / found.log_std).astype(np.float32)
        return ((values - found.mean) / found.std).astype(np.float32)

    def values(self, scores: Any) -> Any:
        """The predictions of a regression from scores of shape (n,), float64 tensors both.

        In 64 bits, because a float32 cannot tell values apart that are large beside their spread.
        """
        import tensorflow as tf

        found = self.statistics
        if self.label.loss == "poisson":
            return tf.exp(scores) * found.mean
        if self.label.log:
            return tf.math.expm1(scores * found.log_std + found.log_mean)
        return scores * found.std + found.mean

    def loss(self) -> Any:
        """The Keras loss, summed over rows."""
        import keras
        from keras import ops

        class LogPoisson(keras.losses.Loss):  # type: ignore[misc] # keras has no types
            """Poisson loss of the logarithm of the mean, without the term of the label alone."""

            def call(self, y_true: Any, y_pred: Any) -> Any:
                return ops.mean(ops.exp(y_pred) - y_true * y_pred, axis=-1)

        if self.label.task == "binary":
            return keras.losses.BinaryCrossentropy(from_logits=True, reduction="sum")
        if self.label.task == "multiclass":
            return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
        if self.label.loss == "poisson":
            return LogPoisson(reduction="sum")
        return keras.losses.MeanSquaredError(reduction="sum")
