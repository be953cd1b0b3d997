"""Early stopping keeps the weights of the best epoch and decides when to stop."""

from typing import Any

import numpy as np

from train.loop.early_stopping import EarlyStopping


class Weights:
    """A model with one weight."""

    def __init__(self, value: float) -> None:
        self.value = value

    def get_weights(self) -> list[Any]:
        return [np.array([self.value])]


def test_patience_counts_from_the_best_epoch() -> None:
    early_stopping = EarlyStopping(patience=2)
    continued = [early_stopping.update(Weights(e), e, loss) for e, loss in enumerate([0.9, 0.5, 0.6, 0.7], 1)]
    assert continued == [True, True, True, False]
    assert (early_stopping.best_epoch, early_stopping.best_weights[0].tolist()) == (2, [2.0])


def test_without_patience_it_never_stops() -> None:
    early_stopping = EarlyStopping(patience=None)
    assert all(early_stopping.update(Weights(e), e, 1.0) for e in range(1, 9))
