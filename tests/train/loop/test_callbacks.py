"""After each epoch the ranks are compared, the best weights are kept, and early stopping decides."""

from typing import Any

import numpy as np
import pytest

from train.errors import Diverged, RankFailed
from train.loop.callbacks import check_agreement, weights_digest
from train.loop.early_stopping import EarlyStopping


class Weights:
    """A model with one weight."""

    def __init__(self, value: float) -> None:
        self.value = value

    def get_weights(self) -> list[Any]:
        return [np.array([self.value])]


def test_patience_counts_from_the_best_epoch() -> None:
    early_stopping = EarlyStopping(lambda: None, patience=2)
    continued = [early_stopping.update(Weights(e), e, loss) for e, loss in enumerate([0.9, 0.5, 0.6, 0.7], 1)]
    assert continued == [True, True, True, False]
    assert (early_stopping.best_epoch, early_stopping.best_weights[0].tolist()) == (2, [2.0])


def test_without_patience_it_never_stops() -> None:
    early_stopping = EarlyStopping(lambda: None, patience=None)
    assert all(early_stopping.update(Weights(e), e, 1.0) for e in range(1, 9))


def test_ranks_that_differ_are_named() -> None:
    parts = [{"rank": 0, "digest": "a", "loss": 1.0}, {"rank": 1, "digest": "b", "loss": 1.0}]
    with pytest.raises(RankFailed, match="rank 1 failed: its weights differ from rank 0's after epoch 4") as caught:
        check_agreement(parts, 4)
    assert caught.value.rank == 1


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    parts = [{"rank": 0, "digest": "a", "loss": 1.0}, {"rank": 1, "digest": "a", "loss": float("nan")}]
    with pytest.raises(Diverged, match="training diverged in epoch 2: the training loss is nan on rank 1"):
        check_agreement(parts, 2)


@pytest.mark.tf
def test_the_digest_sees_every_weight() -> None:
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model.compile(optimizer="adam", loss="mse")
    before = weights_digest(model)
    assert weights_digest(model) == before
    model.layers[0].kernel.assign(model.layers[0].kernel + 1e-7)
    assert weights_digest(model) != before
