"""The best epoch so far, and when there will be no better one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class EarlyStopping:
    """Decides after every epoch, from values that all ranks agree on, what the best epoch is and when to stop.

    Attributes:
        validate: The validation loss over all ranks' rows; None where the validation split is empty.
        patience: Epochs without a better loss before stopping; None never stops.
    """

    validate: Callable[[], float | None]
    patience: int | None
    best_loss: float = float("inf")
    best_epoch: int = 0
    best_weights: list[Any] = field(default_factory=list)

    def update(self, model: Any, epoch: int, loss: float) -> bool:
        """Note an epoch; True if training should go on."""
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, epoch
            self.best_weights = model.get_weights()
        return self.patience is None or epoch - self.best_epoch < self.patience
