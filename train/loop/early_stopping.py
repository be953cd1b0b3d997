"""Early stopping: keeps the best epoch and decides when to stop."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class EarlyStopping:
    """Keeps the best epoch's weights, and stops training when the loss no longer improves.

    All ranks pass the same losses, so all ranks stop after the same epoch.

    Attributes:
        patience: Stop after this many epochs without a better loss; None never stops.
        best_loss: Smallest loss so far.
        best_epoch: Its epoch, from 1.
        best_weights: The weights after that epoch.
    """

    patience: int | None
    best_loss: float = float("inf")
    best_epoch: int = 0
    best_weights: list[Any] = field(default_factory=list)

    def update(self, model: Any, epoch: int, loss: float) -> bool:
        """Compare the loss of an epoch with the best one; returns True if training should continue."""
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, epoch
            self.best_weights = model.get_weights()
        return self.patience is None or epoch - self.best_epoch < self.patience
