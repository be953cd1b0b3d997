"""The encoded rows of a rank, kept in memory or on the local disk, and the batches of an epoch."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final, Self

import numpy as np

from train.data.plan import EpochPlan, Indices, ShardOrder
from train.data.rows import Array, Reader, Rows
from train.data.spill import Spill
from train.data.tensors import is_known
from train.world import World

PART: Final = 4_096
"""Rows that are taken at once where all rows are taken in order: hidden layers of more rows would be large."""


class RankRows:
    """The encoded rows of a rank's shards, in the order of the table; the files of the table are read once.

    If all rows fit in the budget they are kept in memory, otherwise in a file on the local disk.

    Args:
        reader: Reads the split.
        world: This rank's place, which decides its rows.
        budget_bytes: Largest size of the encoded rows to keep in memory.
    """

    def __init__(self, reader: Reader, world: World, budget_bytes: int) -> None:
        self.split = reader.split
        self.world = world
        self._start, stop = self.split.share(world)
        self._count = stop - self._start
        self.empty = empty = reader.empty()
        self.in_memory = empty.row_bytes * self._count <= budget_bytes
        self._kept = empty.allocate(self._count) if self.in_memory else empty
        self._spill = None if self.in_memory else Spill(empty, self._count)
        position = 0
        for part in reader.read(self._start, stop):
            if self._spill:
                self._spill.append(part)
            else:
                self._kept.put(position, part)
            position += len(part)

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._spill:
            self._spill.close()

    def take(self, indices: Indices) -> Rows:
        """The rows at these indices, counted from the first row of the rank, in this order."""
        return self._spill.take(indices) if self._spill else self._kept.take(indices)

    def in_order(self, rows: int = PART) -> Iterator[Rows]:
        """Yield all rows in the order of the table, in parts."""
        for start in range(0, self._count, rows):
            stop = min(start + rows, self._count)
            yield self._spill.read(start, stop) if self._spill else self._kept.take(np.arange(start, stop))


def step_indices(plan: EpochPlan, world: World, *, seed: int, epoch: int) -> Iterator[Indices]:
    """Yield, for each step of an epoch, the indices of the rank's rows, counted from the first row of the rank."""
    shards = world.shards()
    starts = [plan.split.start(shard) for shard in (*shards, shards.stop)]
    orders = [
        ShardOrder(stop - start, seed=seed, epoch=epoch, shard=shard, first=start - starts[0])
        for shard, (start, stop) in zip(shards, pairwise(starts), strict=True)
    ]
    own = slice(shards.start, shards.stop)
    begins = plan.starts(0)[own].tolist()
    for step in range(plan.steps):
        ends = plan.starts(step + 1)[own].tolist()
        yield np.concatenate([order.take(*place) for order, *place in zip(orders, begins, ends, strict=True)])
        begins = ends


def epoch_batches(
    rows: RankRows, plan: EpochPlan, *, seed: int, epoch: int, class_weights: Array | None
) -> Iterator[tuple[Rows, Array]]:
    """Yield the rows of each step of an epoch and their weights in the loss, float32 of shape (n,).

    The weight is 1 or that of the class, and 0 for a label that is missing or of an unknown class. A rank without rows
    in a step gets its first row with weight 0: layers such as BatchNormalization make NaN of no rows.
    """
    for indices in step_indices(plan, rows.world, seed=seed, epoch=epoch):
        chosen = rows.take(indices if len(indices) else np.zeros(1, np.int64))
        known = is_known(chosen.label) if len(indices) else np.zeros(1, bool)
        weights = known.astype(np.float32)
        if class_weights is not None:
            weights *= class_weights[np.where(known, chosen.label, 0)]
        yield chosen, weights
