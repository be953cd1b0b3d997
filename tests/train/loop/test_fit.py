"""What the loss compares, and the class weights; `test_stage` runs the whole loop."""

import numpy as np
import pytest

from train.loop.fit import class_weights
from train.loop.target import Target
from train.preprocessing.statistics import LabelStatistics

VALUES = LabelStatistics(rows=100, missing=0, mean=10.0, std=4.0)
CLASSES = LabelStatistics(rows=100, missing=0, counts=((0, 80), (1, 20)))


def test_balanced_weights_give_every_class_the_same_total() -> None:
    weights = class_weights(CLASSES)
    assert weights == pytest.approx(np.array([0.625, 2.5]))
    assert (weights * [80, 20]).sum() == pytest.approx(100)


def test_classes_keep_their_numbers() -> None:
    label = np.array([0, 1, 1], np.int32)
    for task, dtype in (("binary", "float32"), ("multiclass", "int32")):
        target = Target(task, CLASSES)  # type: ignore[arg-type] # the two words are tasks
        assert target.convert(label).tolist() == [0, 1, 1]
        assert target.convert(label).dtype == target.dtype == dtype


def test_a_quantity_is_standardised() -> None:
    target = Target("regression", VALUES)
    assert target.convert(np.array([10.0, 18.0])).tolist() == [0.0, 2.0]
    assert target.convert(np.array([10.0])).dtype == target.dtype == "float32"


def test_a_class_unknown_to_training_has_no_loss() -> None:
    assert Target("multiclass", CLASSES).known(np.array([0, -1, 1])).tolist() == [True, False, True]
    assert Target("regression", VALUES).known(np.array([-1.0, 3.0])).tolist() == [True, True]


@pytest.mark.tf
@pytest.mark.parametrize(
    ("task", "label", "scores", "expected"),
    [
        ("binary", [[1.0], [0.0]], [[0.0], [0.0]], 2 * np.log(2)),
        ("multiclass", [[2], [0]], [[0.0, 0.0, 0.0]] * 2, 2 * np.log(3)),
        ("regression", [[1.0], [3.0]], [[0.0], [0.0]], 10.0),
    ],
)
def test_the_loss_is_summed_over_rows(task: str, label: object, scores: object, expected: float) -> None:
    loss = Target(task, CLASSES).loss()  # type: ignore[arg-type] # the word is a task
    assert float(loss(np.array(label), np.array(scores, np.float32))) == pytest.approx(expected, rel=1e-5)
