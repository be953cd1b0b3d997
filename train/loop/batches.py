"""The batches of all epochs as a dataset of TensorFlow."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from train.data.cache import RankRows, epoch_batches
from train.data.plan import EpochPlan
from train.data.rows import Array
from train.data.target import Target
from train.preprocessing.layers import CATEGORY, NUMERIC

Batch = tuple[dict[str, Array], Array, Array]
"""Inputs by name, labels as the loss takes them, weights."""


@dataclass
class Batches:
    """The batches of this rank, one epoch after another.

    Attributes:
        rows: The rank's rows.
        plan: Which rows belong to which step.
        target: Converts the labels.
        seed: Decides the order of the rows in each epoch.
        epochs: How many epochs.
        class_weights: Weight of each class in the loss; None for equal weights.
    """

    rows: RankRows
    plan: EpochPlan
    target: Target
    seed: int
    epochs: int
    class_weights: Array | None = None
    _error: Exception | None = field(default=None, init=False)

    def dataset(self) -> Any:
        """Build the dataset; TensorFlow calls `__iter__` in a thread of its own and reads one batch ahead."""
        import tensorflow as tf

        empty = self.rows.empty
        signature = (
            {
                NUMERIC: tf.TensorSpec((None, *empty.numeric.shape[1:]), tf.float32),
                CATEGORY: tf.TensorSpec((None, *empty.category.shape[1:]), tf.int32),
            },
            tf.TensorSpec((None, 1), self.target.dtype),
            tf.TensorSpec((None,), tf.float32),
        )
        dataset = tf.data.Dataset.from_generator(lambda: self, output_signature=signature).prefetch(1)
        options = tf.data.Options()
        options.threading.private_threadpool_size = 1
        options.autotune.enabled = False
        return dataset.with_options(options)

    def __iter__(self) -> Iterator[Batch]:
        try:
            for epoch in range(self.epochs):
                batches = epoch_batches(
                    self.rows, self.plan, seed=self.seed, epoch=epoch, class_weights=self.class_weights
                )
                for rows, weights in batches:
                    inputs = {NUMERIC: rows.numeric, CATEGORY: rows.category}
                    yield inputs, self.target.convert(rows.label)[:, None], weights
        except Exception as error:
            self._error = error
            raise

    @contextmanager
    def errors_of_reading(self) -> Iterator[None]:
        """Raise an error of `__iter__` as it was: TensorFlow makes an ``UnknownError`` of it."""
        try:
            yield
        except Exception as error:
            if self._error:
                raise self._error from error
            raise
