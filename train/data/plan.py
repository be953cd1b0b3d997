"""The plan of an epoch: which rows each rank reads in which step.

The rows of a split are numbered through all its files and divided into a fixed number of equal ranges, the shards. Each
rank has a contiguous block of shards. Every step reads an equal part of every shard. Therefore the rows of a step, over
all ranks together, are the same for every world size.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from millrace.config.sections.profile import SHARDS
from millrace.tables.rows import RowRange, cut_rows
from millrace.tables.versions import DataFile
from train.world import World

WINDOW: Final = 8_192
"""Rows of a shard that are shuffled together, so that the positions of an epoch are never all in memory."""

_STRIDE: Final = 293
"""Prime, and near the golden ratio of `SHARDS`: its multiples fill the range evenly from the first few on."""

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SplitPlan:
    """Rows of one split, divided into shards.

    Attributes:
        files: The data files of the split, in a fixed order.
    """

    files: tuple[DataFile, ...]

    @cached_property
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


def steps_of_an_epoch(rows: int, batch_size: int) -> int:
    """How many steps are needed for at most about `batch_size` rows a step, over all ranks; at least 1."""
    return max(1, -(-rows // batch_size))


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
        return cls(split, steps_of_an_epoch(split.rows, batch_size))

    def starts(self, step: int) -> Indices:
        """The position in each shard at which a step begins, shape (SHARDS,); step ``steps`` is the end.

        Position p belongs to step floor((p + u) * steps / rows). The offset u is different for each shard, so that
        rounding errors do not add up and all steps have nearly the same number of rows. Shards beside each other have
        offsets far apart, so that the shards of each rank have offsets of all sizes, and rows in each step.
        """
        offset = 2 * (np.arange(SHARDS, dtype=np.int64) * _STRIDE % SHARDS) + 1
        first = -((offset * self.steps - step * 2 * SHARDS * self._shard_rows) // (2 * SHARDS * self.steps))
        return np.clip(first, 0, self._shard_rows)

    @cached_property
    def _shard_rows(self) -> Indices:
        starts = [self.split.start(shard) for shard in range(SHARDS + 1)]
        return np.diff(np.array(starts, np.int64))


class ShardOrder:
    """The order in which an epoch reads the rows of a shard: shuffled inside each window, one window after another.

    Args:
        rows: Number of rows of the shard.
        seed: ``train.seed``.
        epoch: Number of the epoch, from 0.
        shard: Number of the shard.
        first: Number of the shard's first row.
    """

    def __init__(self, rows: int, *, seed: int, epoch: int, shard: int, first: int = 0) -> None:
        self._rows, self._first = rows, first
        self._key = [seed, (epoch << 32) + shard]
        self._number = -1
        self._window: Indices = np.zeros(0, np.int64)

    def take(self, start: int, stop: int) -> Indices:
        """The numbers of the rows ``start`` to ``stop`` (exclusive) of the order; only one window is kept in memory."""
        number = start // WINDOW
        end = (number + 1) * WINDOW
        if stop > end:
            return np.concatenate([self.take(start, end), self.take(end, stop)])
        if start == stop:
            return self._window[:0]
        if number != self._number:
            self._number, self._window = number, self._shuffle(number)
        return self._window[start - number * WINDOW : stop - number * WINDOW]

    def _shuffle(self, number: int) -> Indices:
        generator = np.random.Generator(np.random.Philox(key=self._key, counter=[0, 0, number, 0]))
        window = np.arange(number * WINDOW, min((number + 1) * WINDOW, self._rows), dtype=np.int64)
        generator.shuffle(window)
        return window + self._first
