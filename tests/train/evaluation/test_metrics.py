"""Metrics from sums equal scikit-learn's from rows, and parts add up."""

import pickle
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from train.data.tensors import MISSING, UNKNOWN
from train.evaluation.classes import EPSILON, ClassSums
from train.evaluation.metrics import difference, flatten, merge_sums
from train.evaluation.scores import ScoreHistogram
from train.evaluation.values import ValueSums

Array = npt.NDArray[Any]


def binary(rows: int, seed: int) -> tuple[Array, Array]:
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


def scores(kind: str, classes: int, rows: int, seed: int) -> tuple[Array, Array]:
    """Labels, and probabilities that are spread, tied, or all small because positives are rare."""
    random = np.random.default_rng(seed)
    if kind == "rare":
        label = (random.random(rows) < 0.02).astype(np.int32)
        label[:2] = 0, 1
        positive = 1 / (1 + np.exp(-random.normal(label - 4.0, 0.8)))
        return label, np.stack([1 - positive, positive], 1).astype(np.float32)
    label = random.integers(0, classes, rows).astype(np.int32)
    points = random.random((rows, classes)) + 0.3 * np.eye(classes)[label]
    if kind == "tied":
        points = np.ceil(points * 4)
    probabilities = points / points.sum(1, keepdims=True)
    return label, (np.round(probabilities * 20) / 20 if kind == "tied" else probabilities).astype(np.float32)


def answered(probabilities: Array) -> Array:
    """The classes that the exported model answers."""
    return (probabilities[:, 1] >= 0.5).astype(int) if probabilities.shape[1] == 2 else probabilities.argmax(1)


def sums_of(label: Array, probabilities: Array, *, of_slice: bool = False, exact: bool = False) -> ClassSums:
    sums = ClassSums(probabilities.shape[1], of_slice, exact)
    sums.add(label, probabilities)
    return sums


@pytest.mark.parametrize(
    ("kind", "classes", "rows", "bound"),
    [
        ("spread", 2, 200, 1e-3),
        ("spread", 2, 1_000, 2e-4),
        ("spread", 2, 20_000, 2e-5),
        ("spread", 3, 1_000, 2e-4),
        ("spread", 10, 1_000, 2e-3),
        ("tied", 2, 1_000, 1e-12),
        ("tied", 3, 1_000, 1e-12),
        ("tied", 10, 1_000, 1e-12),
        ("rare", 2, 200, 1e-2),
        ("rare", 2, 20_000, 5e-4),
    ],
)
def test_the_auc_of_a_slice_is_near_the_reference(kind: str, classes: int, rows: int, bound: float) -> None:
    for seed in range(5):
        label, probabilities = scores(kind, classes, rows, seed)
        found = sums_of(label, probabilities, of_slice=True).metrics()["auc"]
        columns = [1] if classes == 2 else list(range(classes))
        expected = np.mean([reference.roc_auc_score(label == column, probabilities[:, column]) for column in columns])
        assert found == pytest.approx(expected, abs=bound)


@pytest.mark.parametrize("kind", ["spread", "tied"])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_a_slice_differs_from_all_rows_in_its_confusion_matrix_alone(kind: str, classes: int) -> None:
    label, probabilities = scores(kind, classes, 1_000, seed=7)
    whole, part = (sums_of(label, probabilities, of_slice=of_slice, exact=True).metrics() for of_slice in (False, True))
    predicted = answered(probabilities)
    assert whole.pop("confusion") == reference.confusion_matrix(label, predicted).tolist()
    assert part == whole
    assert part["accuracy"] == pytest.approx(reference.accuracy_score(label, predicted))
    assert part["log_loss"] == pytest.approx(log_loss(label, probabilities), abs=1e-6)
    assert part["calibration_error"] == pytest.approx(calibration_error(label, probabilities), abs=1e-6)


def log_loss(label: Array, probabilities: Array) -> float:
    own = np.clip(probabilities[np.arange(len(label)), label].astype(float), EPSILON, 1 - EPSILON)
    return float(-np.log(own).mean())


def calibration_error(label: Array, probabilities: Array) -> float:
    """Expected calibration error over 15 bins, with the fraction of correct rows in each bin from scikit-learn."""
    if probabilities.shape[1] == 2:
        confidence, correct = probabilities[:, 1], label == 1
    else:
        confidence, correct = probabilities.max(1), probabilities.argmax(1) == label
    true, mean = calibration_curve(correct, confidence, n_bins=15)
    edges = np.linspace(0, 1, 16)
    rows = np.bincount(np.searchsorted(edges[1:-1], confidence), minlength=15)
    return float((np.abs(true - mean) * rows[rows > 0]).sum() / len(label))


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_sums_of_a_small_slice_are_small_when_they_are_sent(classes: int) -> None:
    label, probabilities = scores("spread", classes, 200, seed=3)
    sums = sums_of(label, probabilities, of_slice=True)
    sent = pickle.dumps(sums)
    assert isinstance(sums.scores, ScoreHistogram)
    assert len(sent) < 200 * classes * 12 + 2_000 < sums.scores.histogram.nbytes
    received: Any = pickle.loads(sent)  # noqa: S301 - our own bytes
    assert np.array_equal(received.scores.histogram, sums.scores.histogram)
    assert received.metrics() == sums.metrics()
    received.merge(sums)
    assert received.metrics()["rows"] == 400


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


@pytest.mark.case("B4")
def test_rows_of_an_unknown_class_or_without_a_label_are_left_out_of_model_and_baseline() -> None:
    label, probabilities = binary(500, 8)
    mixed = label.copy()
    mixed[::5], mixed[1::5] = UNKNOWN, MISSING
    some, known = ClassSums(2), ClassSums(2)
    some.add(mixed, probabilities)
    known.add(label[mixed >= 0], probabilities[mixed >= 0])
    left_out = {"unknown_rows": 100, "unlabelled_rows": 100}
    share = np.array([0.7, 0.3])
    for found, expected in ((some.metrics(), known.metrics()), (some.baseline(share), known.baseline(share))):
        assert {name: found.pop(name) for name in left_out} == left_out
        assert found == expected
    values = ValueSums(2.0)
    values.add(np.array([1.0, np.nan, 3.0]), np.array([1.0, 9.0, 2.0]))
    assert values.metrics() == {"rows": 2, "unlabelled_rows": 1, "mae": 0.5, "rmse": np.sqrt(0.5), "r2": 0.5}


@pytest.mark.case("B4")
def test_a_tie_is_the_class_that_the_exported_model_answers() -> None:
    sums = ClassSums(2)
    sums.add(np.ones(4, np.int32), np.full((4, 2), 0.5))
    assert sums.metrics()["accuracy"] == 1
    assert sums.baseline(np.array([0.5, 0.5]))["accuracy"] == 1
    two = ClassSums(2, most_probable=True)
    two.add(np.zeros(4, np.int32), np.full((4, 2), 0.5))
    assert two.metrics()["accuracy"] == 1
    assert two.baseline(np.array([0.5, 0.5]))["accuracy"] == 1
    three = ClassSums(3)
    three.add(np.array([0, 1]), np.array([[0.4, 0.4, 0.2]] * 2))
    assert three.metrics()["accuracy"] == 0.5


@pytest.mark.parametrize("kind", ["spread", "tied", "rare"])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("rows", [3, 60, 5_000])
def test_metrics_of_classes_match_the_reference(kind: str, classes: int, rows: int) -> None:
    label, probabilities = scores(kind, classes, rows, seed=rows)
    classes = probabilities.shape[1]
    found = sums_of(label, probabilities).metrics()
    predicted = answered(probabilities)
    options: dict[str, Any] = {"average": "binary" if classes == 2 else "macro", "zero_division": 0}
    for name, function in (
        ("precision", reference.precision_score),
        ("recall", reference.recall_score),
        ("f1", reference.f1_score),
    ):
        assert (found[name] or 0) == pytest.approx(function(label, predicted, **options)), name
    columns = [1] if classes == 2 else [c for c in range(classes) if (label == c).any()]
    each = [reference.average_precision_score(label == c, probabilities[:, c]) for c in columns]
    assert found["pr_auc"] == pytest.approx(np.mean(each), abs=2e-3)


def test_the_auc_of_very_small_scores_is_near_the_reference() -> None:
    random = np.random.default_rng(1)
    label = (random.random(50_000) < 0.001).astype(np.int32)
    positive = 1 / (1 + np.exp(-random.normal(label * 2.0 - 12, 1.0)))  # all below 0.001
    found = sums_of(label, np.stack([1 - positive, positive], 1)).metrics()
    assert found["auc"] == pytest.approx(reference.roc_auc_score(label, positive), abs=1e-4)
    high = sums_of(1 - label, np.stack([positive, 1 - positive], 1)).metrics()
    assert high["auc"] == pytest.approx(found["auc"], abs=1e-4)


@pytest.mark.parametrize("classes", [2, 3, 10, 60])
@pytest.mark.parametrize("spread", [1e-4, 0.1, 2.0])
def test_with_all_scores_auc_and_average_precision_are_exact(classes: int, spread: float) -> None:
    """Also if all scores are nearly equal, or there are many classes."""
    random = np.random.default_rng(5)
    label = random.integers(0, classes, 4_000).astype(np.int32)
    points = spread * (random.normal(size=(4_000, classes)) + np.eye(classes)[label])
    probabilities = (np.exp(points) / np.exp(points).sum(1, keepdims=True)).astype(np.float32)
    parts = [sums_of(label[part::2], probabilities[part::2], exact=True) for part in range(2)]
    found = merge_sums(parts).metrics()
    columns = [1] if classes == 2 else list(range(classes))
    for name, function in (("auc", reference.roc_auc_score), ("pr_auc", reference.average_precision_score)):
        expected = np.mean([function(label == column, probabilities[:, column]) for column in columns])
        assert found[name] == pytest.approx(expected, abs=1e-9), name


@pytest.mark.parametrize("classes", [10, 60])
def test_counts_of_scores_of_many_classes_are_near_the_reference(classes: int) -> None:
    random = np.random.default_rng(6)
    label = random.integers(0, classes, 4_000).astype(np.int32)
    points = random.normal(size=(4_000, classes)) + np.eye(classes)[label]
    probabilities = (np.exp(points) / np.exp(points).sum(1, keepdims=True)).astype(np.float32)
    found = sums_of(label, probabilities).metrics()
    each = [
        (
            reference.roc_auc_score(label == c, probabilities[:, c]),
            reference.average_precision_score(label == c, probabilities[:, c]),
        )
        for c in range(classes)
    ]
    assert (found["auc"], found["pr_auc"]) == pytest.approx(np.mean(each, axis=0), abs=1e-3)


def test_more_than_100_classes_have_no_confusion_matrix() -> None:
    assert "confusion" in sums_of(np.arange(100), np.full((100, 100), 0.01)).metrics()
    assert "confusion" not in sums_of(np.arange(101), np.full((101, 101), 1 / 101)).metrics()


@pytest.mark.parametrize(("mean", "value", "rows"), [(0.35, 0.1, 7), (0.2, 0.7, 5), (3.0, 0.1, 211)])
def test_equal_labels_have_no_r2(mean: float, value: float, rows: int) -> None:
    sums = ValueSums(mean)
    for part in (np.full(rows, value), np.full(2, value)):
        sums.add(part, part + 0.01)
    assert sums.metrics()["r2"] is None
    sums.add(np.array([value + 1]), np.array([value]))
    assert sums.metrics()["r2"] is not None


def test_what_a_row_of_one_class_cannot_tell() -> None:
    found = sums_of(np.zeros(1, np.int32), np.array([[0.8, 0.2]])).metrics()
    assert {name for name, value in found.items() if value is None} == {"auc", "pr_auc", "precision", "recall", "f1"}
    assert (found["rows"], found["accuracy"]) == (1, 1.0)
    same = ValueSums(1.0)
    same.add(np.full(3, 5.0), np.full(3, 5.0))
    assert same.metrics() == {"rows": 3, "mae": 0.0, "rmse": 0.0, "r2": None}


def test_one_class_alone_has_no_auc() -> None:
    sums = ClassSums(2)
    sums.add(np.zeros(4, np.int32), np.tile([0.6, 0.4], (4, 1)))
    assert sums.metrics()["auc"] is None


def test_no_rows_give_no_numbers() -> None:
    assert ClassSums(2).metrics() == {"rows": 0} == ValueSums(0.0).metrics()


def test_difference_has_the_good_direction() -> None:
    assert difference("auc", 0.8, 0.7) == pytest.approx(0.1)
    assert difference("log_loss", 0.8, 0.7) == pytest.approx(-0.1)
