"""What the loop computes by itself; `test_stage` runs it whole."""

import numpy as np
import pytest

from train.loop.fit import class_weights
from train.preprocessing.statistics import LabelStatistics


def test_balanced_weights_give_every_class_the_same_total() -> None:
    label = LabelStatistics(rows=100, missing=0, counts=(("a", 80), ("b", 20)))
    weights = class_weights(label)
    assert weights == pytest.approx(np.array([0.625, 2.5]))
    assert (weights * [80, 20]).sum() == pytest.approx(100)
