"""Metrics from sums equal scikit-learn's from rows, and parts add up."""

import numpy as np
import pytest
from sklearn import metrics as reference

from train.evaluation.metrics import ClassSums, ValueSums, difference, flatten, merge_sums


def binary(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    label = (random.random(rows) < 0.3).astype(np.int32)
    score = 1 / (1 + np.exp(-random.normal(label * 1.5 - 1, 1.0)))
    return label, np.stack([1 - score, score], 1)


def test_two_classes_match_the_reference() -> None:
    label, probabilities = binary(20_000, 1)
    sums = ClassSums(2)
    sums.add(label, probabilities)
    found = sums.metrics()
    assert found["auc"] == pytest.approx(reference.roc_auc_score(label, probabilities[:, 1]), abs=1e-4)
    assert found["log_loss"] == pytest.approx(reference.log_loss(label, probabilities), abs=1e-9)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(label, probabilities.argmax(1)))
    assert found["confusion"] == reference.confusion_matrix(label, probabilities.argmax(1)).tolist()


def test_many_classes_match_the_reference() -> None:
    random = np.random.default_rng(2)
    label = random.integers(0, 4, 5_000).astype(np.int32)
    scores = random.normal(size=(5_000, 4)) + 2 * np.eye(4)[label]
    probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    sums = ClassSums(4)
    sums.add(label, probabilities)
    found = sums.metrics()
    expected = reference.roc_auc_score(label, probabilities, multi_class="ovr")
    assert found["auc"] == pytest.approx(expected, abs=2e-3)
    assert found["log_loss"] == pytest.approx(reference.log_loss(label, probabilities), abs=1e-9)


def test_a_regression_matches_the_reference() -> None:
    random = np.random.default_rng(3)
    value = random.normal(1_000, 5, 4_000)
    predicted = value + random.normal(0, 2, 4_000)
    sums = ValueSums(mean=999.0)
    sums.add(value, predicted)
    found = sums.metrics()
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(value, predicted))
    assert found["rmse"] == pytest.approx(np.sqrt(reference.mean_squared_error(value, predicted)))
    assert found["r2"] == pytest.approx(reference.r2_score(value, predicted))
    base = sums.baseline()
    assert base["mae"] == pytest.approx(np.abs(value - 999).mean())
    assert base["r2"] == pytest.approx(reference.r2_score(value, np.full(4_000, 999.0)))


def test_parts_of_ranks_add_up_to_the_whole() -> None:
    label, probabilities = binary(3_000, 4)
    whole, left, right = ClassSums(2), ClassSums(2), ClassSums(2)
    whole.add(label, probabilities)
    left.add(label[:1_000], probabilities[:1_000])
    right.add(label[1_000:], probabilities[1_000:])
    merged = merge_sums([left, right]).metrics()
    assert flatten(merged) == pytest.approx(flatten(whole.metrics()))


def test_the_baseline_answers_the_train_shares() -> None:
    label, probabilities = binary(3_000, 5)
    sums = ClassSums(2)
    sums.add(label, probabilities)
    base = sums.baseline(np.array([0.7, 0.3]))
    assert base["auc"] == 0.5
    assert base["log_loss"] == pytest.approx(reference.log_loss(label, np.tile([0.7, 0.3], (3_000, 1))))


def test_calibration_error_of_a_model_that_is_always_too_sure() -> None:
    sums = ClassSums(2)
    label = np.array([0, 1] * 500)
    sums.add(label, np.tile([0.1, 0.9], (1_000, 1)))
    assert sums.metrics()["calibration_error"] == pytest.approx(0.4)


def test_a_class_unknown_to_training_counts_as_wrong() -> None:
    sums = ClassSums(2)
    sums.add(np.array([-1, 1]), np.array([[0.2, 0.8], [0.2, 0.8]]))
    found = sums.metrics()
    assert (found["rows"], found["accuracy"]) == (2, 0.5)


def test_one_class_alone_has_no_auc() -> None:
    sums = ClassSums(2)
    sums.add(np.zeros(4, np.int32), np.tile([0.6, 0.4], (4, 1)))
    assert sums.metrics()["auc"] is None


def test_no_rows_give_no_numbers() -> None:
    assert ClassSums(2).metrics() == {"rows": 0} == ValueSums(0.0).metrics()


def test_difference_has_the_good_direction() -> None:
    assert difference("auc", 0.8, 0.7) == pytest.approx(0.1)
    assert difference("log_loss", 0.8, 0.7) == pytest.approx(-0.1)
