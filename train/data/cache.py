"""A rank's encoded rows, in memory or read window by window, and the batches made of them."""

from collections.abc import Iterator

import numpy as np

from train.data.plan import WINDOW, EpochPlan, Indices, window_order
from train.data.rows import Array, Reader, Rows
from train.preprocessing.layers import CATEGORY, NUMERIC
from train.world import World


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

    def take(self, positions: dict[int, Indices]) -> Rows:
        """Rows by shard: positions inside each shard, in the order given."""
        split = self._reader.split
        if self._rows is not None:
            indices = [split.start(shard) - self._start + chosen for shard, chosen in positions.items()]
            return self._rows.take(np.concatenate(indices))
        parts = [part for shard, chosen in positions.items() for part in self._from_windows(shard, chosen)]
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
    for step, positions in enumerate(step_indices(plan, world, seed=seed, epoch=epoch)):
        rows = cache.take(positions)
        weights = np.full(len(rows), scale[step], np.float32)
        if class_weights is not None:
            weights *= class_weights[rows.label]
        yield {NUMERIC: rows.numeric, CATEGORY: rows.category}, rows.label[:, None], weights
