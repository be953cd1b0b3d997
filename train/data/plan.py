"""The exact plan of an epoch: which rows each rank reads, in which step.

Rows are numbered through the files of a split. A fixed number of canonical shards cuts them into equal ranges, and a
rank owns a contiguous block of shards. Every step takes an equal part of every shard, so that the rows of a step, over
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
"""Rows of a shard that are shuffled among themselves, and read at once when they are not kept in memory."""

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SplitPlan:
    """Rows of one split, cut into shards.

    Attributes:
        files: The split's files in their fixed order.
        rows: How many rows they hold.
    """

    files: tuple[DataFile, ...]

    @property
    def rows(self) -> int:
        """How many rows the split holds."""
        return sum(file.rows for file in self.files)

    def start(self, shard: int) -> int:
        """Number of a shard's first row; of shard `SHARDS`, the end."""
        return shard * self.rows // SHARDS

    def share(self, world: World) -> tuple[int, int]:
        """First and last (exclusive) row of a rank; ranks differ by one row at most."""
        shards = world.shards()
        return self.start(shards.start), self.start(shards.stop)

    def ranges(self, start: int, stop: int) -> list[RowRange]:
        """Rows ``start`` to ``stop`` as ranges inside files."""
        return cut_rows(self.files, start, stop)


@dataclass(frozen=True)
class EpochPlan:
    """Which rows of each shard belong to which step.

    Attributes:
        split: The rows.
        steps: Steps of an epoch, the same on every rank.
    """

    split: SplitPlan
    steps: int

    @classmethod
    def of(cls, split: SplitPlan, batch_size: int) -> "EpochPlan":
        """Plan steps of at most about `batch_size` rows over all ranks."""
        return cls(split, max(1, -(-split.rows // batch_size)))

    def bounds(self, shard: int) -> Indices:
        """Positions in a shard where each step begins, and the end; shape (steps + 1,).

        Position p belongs to step floor((p + u) * steps / rows). The offset u differs from shard to shard, so that
        the shards' rounding does not add up and all steps hold nearly the same number of rows.
        """
        rows = self.split.start(shard + 1) - self.split.start(shard)
        step = np.arange(self.steps + 1, dtype=np.int64)
        offset = 2 * shard + 1
        first = -((offset * self.steps - step * 2 * SHARDS * rows) // (2 * SHARDS * self.steps))
        return np.clip(first, 0, rows)

    def step_rows(self) -> Indices:
        """Rows of each step over all ranks; shape (steps,)."""
        total = np.zeros(self.steps, np.int64)
        for shard in range(SHARDS):
            total += np.diff(self.bounds(shard))
        return total


def window_order(rows: int, *, seed: int, epoch: int, shard: int) -> Indices:
    """The order in which an epoch visits a shard's rows: shuffled inside windows, windows one after another."""
    order = np.arange(rows, dtype=np.int64)
    generator = np.random.Generator(np.random.Philox(key=[seed, (epoch << 32) + shard]))
    for start in range(0, rows, WINDOW):
        generator.shuffle(order[start : start + WINDOW])
    return order
