"""The plan of an epoch: which rows each rank reads in which step.

The rows of a split are numbered through all its files and divided into a fixed number of equal ranges, the shards. Each
rank has a contiguous block of shards. Every step reads an equal part of every shard. Therefore the rows of a step, over
all ranks together, are the same for every world size.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from millrace.tables.rows import RowRange, cut_rows
from millrace.tables.versions import DataFile
from train.world import SHARDS, World

WINDOW: Final = 8_192
"""Rows of a shard that are shuffled together, and are read at once if the rows are not kept in memory."""

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SplitPlan:
    """Rows of one split, divided into shards.

    Attributes:
        files: The data files of the split, in a fixed order.
    """

    files: tuple[DataFile, ...]

    @property
    def rows(self) -> int:
        """Number of rows in the split."""
        return sum(file.rows for file in self.files)

    def start(self, shard: int) -> int:
        """Number of a shard's first row; for shard `SHARDS`, the number of rows of the split."""
        return shard * self.rows // SHARDS

    def share(self, world: World) -> tuple[int, int]:
        """First and last (exclusive) row of a rank; two ranks differ by at most one row."""
        shards = world.shards()
        return self.start(shards.start), self.start(shards.stop)

    def ranges(self, start: int, stop: int) -> list[RowRange]:
        """The ranges inside files that hold rows ``start`` to ``stop`` (exclusive)."""
        return cut_rows(self.files, start, stop)


@dataclass(frozen=True)
class EpochPlan:
    """Which rows of each shard belong to which step.

    Attributes:
        split: The rows to divide.
        steps: Number of steps of an epoch, the same on every rank.
    """

    split: SplitPlan
    steps: int

    @classmethod
    def of(cls, split: SplitPlan, batch_size: int) -> "EpochPlan":
        """Plan as many steps as are needed for about `batch_size` rows a step, over all ranks."""
        return cls(split, max(1, -(-split.rows // batch_size)))

    def bounds(self, shard: int) -> Indices:
        """Positions in a shard at which each step begins, then the end; shape (steps + 1,).

        Position p belongs to step floor((p + u) * steps / rows). The offset u is different for each
        shard, so that rounding errors do not add up and all steps have nearly the same number of rows.
        """
        rows = self.split.start(shard + 1) - self.split.start(shard)
        step = np.arange(self.steps + 1, dtype=np.int64)
        offset = 2 * shard + 1
        first = -((offset * self.steps - step * 2 * SHARDS * rows) // (2 * SHARDS * self.steps))
        return np.clip(first, 0, rows)

    def step_rows(self) -> Indices:
        """Number of rows of each step over all ranks; shape (steps,)."""
        total = np.zeros(self.steps, np.int64)
        for shard in range(SHARDS):
            total += np.diff(self.bounds(shard))
        return total


def window_order(rows: int, *, seed: int, epoch: int, shard: int) -> Indices:
    """The order in which an epoch reads the rows of a shard: shuffled inside each window, one window after another."""
    order = np.arange(rows, dtype=np.int64)
    generator = np.random.Generator(np.random.Philox(key=[seed, (epoch << 32) + shard]))
    for start in range(0, rows, WINDOW):
        generator.shuffle(order[start : start + WINDOW])
    return order
