"""Reads rows from the data files of a table and encodes them for the trunk."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millrace.features.encoding import encode
from millrace.features.spec import FeatureSpec
from millrace.retry import NO_RETRY, RetryPolicy
from millrace.tables.rows import RowRange, read_rows
from train.data.plan import Indices, SplitPlan
from train.data.tensors import encode_labels, to_tensor
from train.preprocessing.layers import CATEGORY, NUMERIC

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Rows:
    """Encoded rows.

    Attributes:
        numeric: float32, shape (rows, width).
        category: int32 indices, shape (rows, count).
        label: Encoded labels, shape (rows,); see `train.data.tensors.encode_labels`.
    """

    numeric: Array
    category: Array
    label: Array

    def __len__(self) -> int:
        return len(self.label)

    def take(self, indices: Indices) -> "Rows":
        """The rows at these indices, in this order."""
        return Rows(self.numeric[indices], self.category[indices], self.label[indices])

    @property
    def row_bytes(self) -> int:
        """Size of one row."""
        return sum(
            array.itemsize * int(np.prod(array.shape[1:])) for array in (self.numeric, self.category, self.label)
        )

    def allocate(self, rows: int) -> "Rows":
        """New arrays for `rows` rows with the same widths and dtypes; the values are undefined."""
        return Rows(*(np.empty((rows, *a.shape[1:]), a.dtype) for a in (self.numeric, self.category, self.label)))

    def put(self, position: int, rows: "Rows") -> None:
        """Copy rows into these arrays, the first one to `position`."""
        place = slice(position, position + len(rows))
        self.numeric[place], self.category[place], self.label[place] = rows.numeric, rows.category, rows.label


class Reader:
    """Reads and encodes rows of a split.

    Args:
        split: The rows that can be read.
        spec: Inputs and label to read.
        preprocessing: Keras model of `train.preprocessing.layers.build_preprocessing`.
        heartbeat: Called for every batch that is read, so that the watchdog does not end a rank that reads.
        retry: The policy for reading files.
    """

    def __init__(
        self,
        split: SplitPlan,
        spec: FeatureSpec,
        preprocessing: Any,
        heartbeat: Callable[[], None],
        retry: RetryPolicy = NO_RETRY,
    ) -> None:
        import tensorflow as tf

        self.split = split
        self.spec = spec
        self.columns = list(dict.fromkeys([f.name for f in spec.inputs] + [spec.label.name]))
        self.heartbeat = heartbeat
        self._retry = retry
        signature = {f.name: tf.TensorSpec((None,), f.tensor_dtype) for f in spec.inputs}
        self._preprocess = tf.function(preprocessing, input_signature=[signature])

    def batches(self, ranges: list[RowRange], columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the raw rows of the ranges."""
        for rows in ranges:
            for batch in read_rows(rows, columns or self.columns, retry=self._retry):
                self.heartbeat()
                yield batch

    def read(self, start: int, stop: int) -> Iterator[Rows]:
        """Read and encode rows ``start`` to ``stop`` (exclusive) of the split, part by part."""
        for batch in self.batches(self.split.ranges(start, stop)):
            yield self.encode(batch)

    def encode(self, batch: pa.RecordBatch) -> Rows:
        """Encode a batch of raw rows."""
        inputs = {f.name: to_tensor(encode(batch.column(f.name), f)) for f in self.spec.inputs}
        outputs = self._preprocess(inputs)
        return Rows(outputs[NUMERIC].numpy(), outputs[CATEGORY].numpy(), self.labels(batch))

    def labels(self, batch: pa.RecordBatch) -> Array:
        """The labels of a batch of raw rows, encoded."""
        return encode_labels(batch.column(self.spec.label.name), self.spec)

    def empty(self) -> Rows:
        """Zero rows with the same widths and dtypes as other rows."""
        inputs = {f.name: to_tensor(encode(pa.array([], _arrow_type(f.dtype)), f)) for f in self.spec.inputs}
        outputs = self._preprocess(inputs)
        label = np.zeros(0, np.float64 if self.spec.label.task == "regression" else np.int32)
        return Rows(outputs[NUMERIC].numpy(), outputs[CATEGORY].numpy(), label)


def _arrow_type(dtype: str) -> pa.DataType:
    return {
        "float32": pa.float32(),
        "float64": pa.float64(),
        "int64": pa.int64(),
        "bool": pa.bool_(),
        "timestamp": pa.timestamp("us", tz="UTC"),
        "string": pa.string(),
    }[dtype]
