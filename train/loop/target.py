"""The label as the loss takes it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from millrace.features.spec import Task
from train.data.rows import Array
from train.preprocessing.statistics import LabelStatistics


@dataclass(frozen=True)
class Target:
    """Converts encoded labels to values of the loss, and names the loss.

    Attributes:
        task: Decides the loss.
        label: Statistics of the label in the train split; they standardise the values of a regression.
    """

    task: Task
    label: LabelStatistics

    @property
    def dtype(self) -> str:
        """The dtype of `convert`'s result."""
        return "int32" if self.task == "multiclass" else "float32"

    def convert(self, label: Array) -> Array:
        """Class numbers for classes, standardised values for a regression."""
        if self.task == "multiclass":
            return label
        if self.task == "binary":
            return label.astype(np.float32)
        return ((label - self.label.mean) / self.label.std).astype(np.float32)

    def known(self, label: Array) -> Array:
        """True for each label that the model can predict; false for a class that the train split does not have."""
        return np.ones(len(label), bool) if self.task == "regression" else label >= 0

    def loss(self) -> Any:
        """The Keras loss, summed over rows."""
        import keras

        if self.task == "binary":
            return keras.losses.BinaryCrossentropy(from_logits=True, reduction="sum")
        if self.task == "multiclass":
            return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
        return keras.losses.MeanSquaredError(reduction="sum")
