"""A rank's encoded rows, kept in memory or read window by window, and the batches of an epoch."""

from collections.abc import Iterator

import numpy as np

from train.data.plan import WINDOW, EpochPlan, Indices, window_order
from train.data.rows import Array, Reader, Rows
from train.preprocessing.layers import CATEGORY, NUMERIC
from train.world import World


class ShardCache:
    """Encoded rows of a rank's shards.

    If all of them fit in the budget, they are kept in memory. Otherwise each window is read again in every epoch.

    Args:
        reader: Reads the split.
        world: This rank's place, which decides its rows.
        budget_bytes: Largest size of the encoded rows to keep in memory.
    """

    def __init__(self, reader: Reader, world: World, budget_bytes: int) -> None:
        self._reader = reader
        self._start, stop = reader.split.share(world)
        probe = reader.read(self._start, min(self._start + 1024, stop))
        row_bytes = sum(a.nbytes for a in (probe.numeric, probe.category, probe.label)) / max(1, len(probe))
        self.in_memory = row_bytes * (stop - self._start) <= budget_bytes
        self._rows = reader.read(self._start, stop) if self.in_memory else None
        self._windows: dict[int, tuple[int, Rows]] = {}

    def take(self, positions: dict[int, Indices]) -> Rows:
        """Rows at the given positions inside each shard, in the order given."""
        split = self._reader.split
        if self._rows is not None:
            indices = [split.start(shard) - self._start + chosen for shard, chosen in positions.items()]
            return self._rows.take(np.concatenate(indices))
        parts = [part for shard, chosen in positions.items() for part in self._from_windows(shard, chosen)]
        return Rows.concatenate(parts) if parts else self._reader.empty()

    def in_order(self, world: World, rows: int = 65_536) -> Iterator[Rows]:
        """Yield all rows of the rank in the order of the table, in parts."""
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
    """Yield, for each step of an epoch, the positions that the rank reads from each of its shards."""
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
    """Yield the batches of one epoch: inputs, labels of shape (n, 1), weights of shape (n,).

    The weight of a row is its class weight * world size / rows of the step on all ranks. With these weights, the mean
    over ranks of the summed loss equals the mean over rows, even if the ranks have unequal parts of a step.
    """
    scale = world.size / plan.step_rows()
    for step, positions in enumerate(step_indices(plan, world, seed=seed, epoch=epoch)):
        rows = cache.take(positions)
        weights = np.full(len(rows), scale[step], np.float32)
        if class_weights is not None:
            weights *= class_weights[rows.label]
        yield {NUMERIC: rows.numeric, CATEGORY: rows.category}, rows.label[:, None], weights
