"""A rank's rows: read from the table's files, encoded once, handed to the loop in the plan's order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.features import FeatureSpec, encode
from pipelines.rows import RowRange, read_rows
from train.encoding import CATEGORY, NUMERIC, encode_labels, to_tensor
from train.plan import WINDOW, EpochPlan, Indices, SplitPlan, World, window_order

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Rows:
    """Encoded rows.

    Attributes:
        numeric: float32, shape (rows, width).
        category: int32 indices, shape (rows, count).
        label: Class numbers or values, shape (rows,).
    """

    numeric: Array
    category: Array
    label: Array

    def __len__(self) -> int:
        return len(self.label)

    def take(self, indices: Indices) -> "Rows":
        """Some of the rows, in this order."""
        return Rows(self.numeric[indices], self.category[indices], self.label[indices])

    @classmethod
    def concatenate(cls, parts: list["Rows"]) -> "Rows":
        """Rows of several parts, one after another."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            *(
                np.concatenate(list(arrays))
                for arrays in zip(*((p.numeric, p.category, p.label) for p in parts), strict=True)
            )
        )


class Reader:
    """Reads and encodes rows of a split.

    Args:
        split: Where the rows lie.
        spec: What to read.
        preprocessing: Keras model of `train.encoding.build_preprocessing`.
        alive: Called after every batch read: the rank is not stuck.
    """

    def __init__(self, split: SplitPlan, spec: FeatureSpec, preprocessing: Any, alive: Callable[[], None]) -> None:
        import tensorflow as tf

        self.split = split
        self.spec = spec
        self.columns = list(dict.fromkeys([f.name for f in spec.inputs] + [spec.label.name]))
        self._alive = alive
        signature = {f.name: tf.TensorSpec((None,), f.tensor_dtype) for f in spec.inputs}
        self._preprocess = tf.function(preprocessing, input_signature=[signature])

    def batches(self, ranges: list[RowRange], columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Raw rows of the ranges."""
        for rows in ranges:
            for batch in read_rows(rows, columns or self.columns):
                self._alive()
                yield batch

    def read(self, start: int, stop: int) -> Rows:
        """Encoded rows ``start`` to ``stop`` of the split."""
        parts = [self.encode(batch) for batch in self.batches(self.split.ranges(start, stop))]
        return Rows.concatenate(parts) if parts else self.empty()

    def encode(self, batch: pa.RecordBatch) -> Rows:
        """Encode raw rows."""
        inputs = {f.name: to_tensor(encode(batch.column(f.name), f)) for f in self.spec.inputs}
        outputs = self._preprocess(inputs)
        return Rows(outputs[NUMERIC].numpy(), outputs[CATEGORY].numpy(), self.labels(batch))

    def labels(self, batch: pa.RecordBatch) -> Array:
        """Labels of raw rows."""
        return encode_labels(batch.column(self.spec.label.name).to_numpy(zero_copy_only=False), self.spec)

    def empty(self) -> Rows:
        """No rows, with the right widths."""
        inputs = {f.name: to_tensor(encode(pa.array([], _arrow_type(f.dtype)), f)) for f in self.spec.inputs}
        outputs = self._preprocess(inputs)
        label = np.zeros(0, np.float32 if self.spec.label.task == "regression" else np.int32)
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


class ShardCache:
    """Encoded rows of a rank's shards, kept in memory while they fit a budget, else read window by window."""

    def __init__(self, reader: Reader, world: World, budget_bytes: int) -> None:
        self._reader = reader
        self._start, stop = reader.split.share(world)
        probe = reader.read(self._start, min(self._start + 1024, stop))
        row_bytes = sum(a.nbytes for a in (probe.numeric, probe.category, probe.label)) / max(1, len(probe))
        self.in_memory = row_bytes * (stop - self._start) <= budget_bytes
        self._rows = reader.read(self._start, stop) if self.in_memory else None
        self._windows: dict[int, tuple[int, Rows]] = {}

    def take(self, wanted: dict[int, Indices]) -> Rows:
        """Rows by shard: positions inside each shard, in the order given."""
        split = self._reader.split
        if self._rows is not None:
            indices = [split.start(shard) - self._start + positions for shard, positions in wanted.items()]
            return self._rows.take(np.concatenate(indices))
        parts = [part for shard, places in wanted.items() for part in self._from_windows(shard, places)]
        return Rows.concatenate(parts) if parts else self._reader.empty()

    def in_order(self, world: World, rows: int = 65_536) -> Iterator[Rows]:
        """All of the rank's rows in the table's order, in parts."""
        start, stop = self._reader.split.share(world)
        for first in range(start, stop, rows):
            last = min(first + rows, stop)
            if self._rows is None:
                yield self._reader.read(first, last)
            else:
                yield self._rows.take(np.arange(first - self._start, last - self._start))

    def _from_windows(self, shard: int, positions: Indices) -> Iterator[Rows]:
        windows = positions // WINDOW
        for window in np.unique(windows):
            if self._windows.get(shard, (-1,))[0] != window:
                first = self._reader.split.start(shard)
                start = first + int(window) * WINDOW
                stop = min(start + WINDOW, self._reader.split.start(shard + 1))
                self._windows[shard] = (int(window), self._reader.read(start, stop))
            yield self._windows[shard][1].take(positions[windows == window] - int(window) * WINDOW)


def step_indices(plan: EpochPlan, world: World, *, seed: int, epoch: int) -> Iterator[dict[int, Indices]]:
    """For each step of an epoch, the positions that a rank takes from each of its shards."""
    orders, bounds = {}, {}
    for shard in world.shards():
        rows = plan.split.start(shard + 1) - plan.split.start(shard)
        orders[shard] = window_order(rows, seed=seed, epoch=epoch, shard=shard)
        bounds[shard] = plan.bounds(shard)
    for step in range(plan.steps):
        yield {shard: order[bounds[shard][step] : bounds[shard][step + 1]] for shard, order in orders.items()}


def epoch_batches(
    cache: ShardCache,
    plan: EpochPlan,
    world: World,
    *,
    seed: int,
    epoch: int,
    class_weights: Array | None,
) -> Iterator[tuple[dict[str, Array], Array, Array]]:
    """Batches of one epoch: inputs, labels of shape (n, 1), weights of shape (n,).

    A row's weight is its class weight times world size over the rows of the step on all ranks, so that the mean over
    ranks of the summed loss is the mean over rows, however unequal the ranks' parts of a step are.
    """
    scale = world.size / plan.step_rows()
    for step, wanted in enumerate(step_indices(plan, world, seed=seed, epoch=epoch)):
        rows = cache.take(wanted)
        weights = np.full(len(rows), scale[step], np.float32)
        if class_weights is not None:
            weights *= class_weights[rows.label]
        yield {NUMERIC: rows.numeric, CATEGORY: rows.category}, rows.label[:, None], weights
