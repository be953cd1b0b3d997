"""What the loss compares, and the class weights; `test_stage` runs the whole loop."""

import numpy as np
import pytest

from millrace.features.spec import Label
from train.data.target import Target
from train.loop.fit import class_weights
from train.preprocessing.statistics import LabelStatistics

VALUES = LabelStatistics(mean=10.0, std=4.0, log_mean=2.0, log_std=0.5)
CLASSES = LabelStatistics(counts=((0, 80), (1, 20)))


def target(task: str = "regression", **label: object) -> Target:
    classes = (0, 1) if task == "binary" else (0, 1, 2)
    given = {"name": "y", "task": task, "classes": () if task == "regression" else classes, **label}
    return Target(Label.model_validate(given), VALUES if task == "regression" else CLASSES)


def test_balanced_weights_give_every_class_the_same_total() -> None:
    weights = class_weights(CLASSES)
    assert weights == pytest.approx(np.array([0.625, 2.5]))
    assert (weights * [80, 20]).sum() == pytest.approx(100)


@pytest.mark.parametrize(("task", "dtype"), [("binary", "float32"), ("multiclass", "int32")])
def test_classes_keep_their_numbers(task: str, dtype: str) -> None:
    converted = target(task).convert(np.array([0, 1, 1], np.int32))
    assert converted.tolist() == [0, 1, 1]
    assert converted.dtype == target(task).dtype == dtype


def test_values_are_scaled() -> None:
    values = np.array([10.0, 18.0])
    assert target().convert(values).tolist() == [0.0, 2.0]
    assert target(log=True).convert(values) == pytest.approx((np.log1p(values) - 2) / 0.5, rel=1e-6)
    assert target(loss="poisson").convert(values) == pytest.approx([1.0, 1.8], rel=1e-6)
    assert target().convert(values).dtype == target().dtype == "float32"


def test_labels_that_are_not_known_are_usual_values_of_the_loss() -> None:
    assert target("multiclass").convert(np.array([0, -1, -2])).tolist() == [0, 0, 0]
    for label in ({}, {"log": True}, {"loss": "poisson"}):
        assert np.abs(target(**label).convert(np.array([np.nan, 3.0]))).max() < 3


@pytest.mark.tf
@pytest.mark.parametrize("label", [{}, {"log": True}])
def test_scores_become_the_values_that_they_stand_for(label: dict[str, object]) -> None:
    import tensorflow as tf

    values = np.array([0.0, 0.5, 10.0, 1e6])
    chosen = target(**label)
    scores = tf.constant(chosen.convert(values), tf.float64)
    assert chosen.values(scores).numpy() == pytest.approx(values, rel=1e-5, abs=1e-5)


@pytest.mark.tf
def test_the_poisson_loss_has_the_minimum_and_gradient_of_the_reference() -> None:
    import keras
    import tensorflow as tf

    chosen, counts = target(loss="poisson"), np.array([[0.0], [3.0], [40.0]])
    label, scores = chosen.convert(counts), tf.Variable(np.array([[-1.0], [0.2], [1.5]], np.float32))
    with tf.GradientTape(persistent=True) as tape:
        own = chosen.loss()(label, scores)
        plain = keras.losses.Poisson(reduction="sum")(label, tf.exp(scores))
    assert tape.gradient(own, scores).numpy() == pytest.approx(tape.gradient(plain, scores).numpy(), rel=1e-5)
    best = tf.Variable(np.log(label[1:]))
    with tf.GradientTape() as tape:
        loss = chosen.loss()(label[1:], best)
    assert tape.gradient(loss, best).numpy() == pytest.approx(0, abs=1e-5)
    assert chosen.values(best[:, 0]).numpy() == pytest.approx(counts[1:, 0], rel=1e-5)


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
    loss = target(task).loss()
    assert float(loss(np.array(label), np.array(scores, np.float32))) == pytest.approx(expected, rel=1e-5)
