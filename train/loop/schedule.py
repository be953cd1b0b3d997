"""How long to train: the settings of `train`, and what `auto` means for a number of rows."""

import math
from dataclasses import dataclass
from typing import Final

from millrace.config.sections.train import Train
from train.data.plan import steps_of_an_epoch
from train.preprocessing.statistics import LabelStatistics

STEPS_OF_AN_EPOCH: Final = 100
"""About as many steps an epoch takes with a batch size of `auto`, if it is within its bounds."""
BATCH_SIZES: Final = (16, 16_384)
"""Smallest and largest batch size of `auto`."""
STEPS: Final = 4_000
"""About as many steps all epochs take with `auto`, if the number of epochs is within its bounds."""
EPOCHS: Final = (10, 250)
"""Smallest and largest number of epochs of `auto`."""
PATIENCE: Final = 5
"""Smallest patience of `auto`."""
FEW_STEPS: Final = 500
"""Fewer steps than this, over all epochs, seldom train a network to its end."""


@dataclass(frozen=True)
class Schedule:
    """How long to train.

    Attributes:
        batch_size: Rows of a step, over all ranks together.
        steps: Steps of an epoch.
        epochs: Maximum number of epochs.
        patience: Stop after this many epochs without a better loss; None never stops.
    """

    batch_size: int
    steps: int
    epochs: int
    patience: int | None

    @classmethod
    def of(cls, train: Train, rows: int, label: LabelStatistics | None = None) -> "Schedule":
        """Decide what the settings leave to `auto`.

        Args:
            train: The section ``train`` of the product file.
            rows: Rows of the train split, of all ranks together.
            label: How many of them have no label: a step has the more rows, so that enough of them have one.
        """
        labelled = max(1, rows - (label.missing.get("train", 0) if label else 0))
        automatic = max(1, -(-_batch_size(labelled) * rows // labelled))
        batch_size = min(max(1, rows), train.batch_size if isinstance(train.batch_size, int) else automatic)
        steps = steps_of_an_epoch(rows, batch_size)
        epochs = train.epochs if isinstance(train.epochs, int) else _between(EPOCHS, round(STEPS / steps))
        patience = max(PATIENCE, round(epochs / 8)) if train.patience == "auto" else train.patience
        return cls(batch_size, steps, epochs, patience)

    @property
    def is_short(self) -> bool:
        """Whether all epochs together are too few steps to train well."""
        return self.steps * self.epochs < FEW_STEPS

    def __str__(self) -> str:
        text = f"at most {self.epochs} epochs of {self.steps} steps, {self.batch_size} rows a step over all ranks"
        return text if self.patience is None else f"{text}, ends after {self.patience} without a better loss"


def _batch_size(rows: int) -> int:
    """The power of two that is nearest to a hundredth of the rows, on a scale of logarithms."""
    return _between(BATCH_SIZES, 2 ** round(math.log2(max(1, rows) / STEPS_OF_AN_EPOCH)))


def _between(bounds: tuple[int, int], value: float) -> int:
    smallest, largest = bounds
    return int(min(largest, max(smallest, value)))
