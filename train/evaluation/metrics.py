"""Metrics from sums that ranks can add, so that no row is sent to another rank.

AUC is computed from a histogram of scores: two rows in the same bucket count as a tie. The value differs from the
exact one by at most half the share of (positive, negative) pairs that are in one bucket: with two classes far below
1e-4 if scores are spread over 0 to 1.

The calibration error is the expected one over 15 equal-width bins (Guo et al., 2017, "On Calibration of Modern Neural
Networks"). Log loss and accuracy are exact.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

HIGHER_IS_BETTER: Final = {
    "auc": True,
    "accuracy": True,
    "log_loss": False,
    "calibration_error": False,
    "mae": False,
    "rmse": False,
    "r2": True,
}
"""Every metric that a gate may name, and whether a higher value is better."""

BUCKETS: Final = 1 << 14
"""Score buckets of a histogram with two classes."""
MIN_BUCKETS: Final = 1 << 8
"""Fewest score buckets, however many classes there are."""
CALIBRATION_BINS: Final = 15
EPSILON: Final = 1e-7
"""Probabilities are clipped to this distance from 0 and 1: one confident wrong row must not make the loss infinite."""


@dataclass
class ClassSums:
    """Sums over rows of a classification.

    Attributes:
        classes: How many classes.
        of_slice: Whether the rows are those of a slice, which has no confusion matrix.
        histogram: Rows by (one-vs-rest class, is that class, score bucket); two classes have the second one only.
        confusion: Rows by (true class, predicted class); None for a slice.
        truth: Rows by true class.
        calibration: By confidence bin: rows, summed confidence, correct rows.
        totals: Summed log loss, correct rows.
    """

    classes: int
    of_slice: bool = False
    histogram: Array = field(init=False)
    confusion: Array | None = field(init=False)
    truth: Array = field(init=False)
    calibration: Array = field(default_factory=lambda: np.zeros((CALIBRATION_BINS, 3)), init=False)
    totals: Array = field(default_factory=lambda: np.zeros(2), init=False)

    def __post_init__(self) -> None:
        scored = 1 if self.classes == 2 else self.classes  # noqa: PLR2004
        buckets = max(MIN_BUCKETS, BUCKETS // (scored * scored))
        self.histogram = np.zeros((scored, 2, buckets))
        self.confusion = None if self.of_slice else np.zeros((self.classes, self.classes))
        self.truth = np.zeros(self.classes)

    # Every rank sends the sums of each slice to every other rank; most slices have rows in few buckets only.
    def __getstate__(self) -> dict[str, Any]:
        used = np.flatnonzero(self.histogram)
        return {**self.__dict__, "histogram": (self.histogram.shape, used.astype(np.int32), self.histogram.flat[used])}

    def __setstate__(self, state: dict[str, Any]) -> None:
        shape, used, counts = state["histogram"]
        self.__dict__.update(state)
        self.histogram = np.zeros(shape)
        self.histogram.flat[used] = counts

    def add(self, label: Array, probabilities: Array) -> None:
        """Count rows.

        Args:
            label: Class numbers, shape (rows,); -1, a class unknown to training, always counts as wrong.
            probabilities: Shape (rows, classes).
        """
        known = label >= 0
        truth = np.where(known, label, 0)
        predicted = probabilities.argmax(1)
        np.add.at(self.truth, truth[known], 1)
        if self.confusion is not None:
            np.add.at(self.confusion, (truth[known], predicted[known]), 1)
        own = np.where(known, probabilities[np.arange(len(label)), truth], 0.0)
        loss = -np.log(np.clip(own, EPSILON, 1 - EPSILON)).sum()
        self.totals += [loss, (predicted == label).sum()]
        self._add_scores(label, probabilities)
        confidence, correct = self._confidence(label, probabilities, predicted)
        bin_ = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
        np.add.at(self.calibration, bin_, np.stack([np.ones(len(label)), confidence, correct], 1))

    def _add_scores(self, label: Array, probabilities: Array) -> None:
        buckets = self.histogram.shape[2]
        for row in range(len(self.histogram)):
            column = 1 if self.classes == 2 else row  # noqa: PLR2004
            bucket = np.minimum((probabilities[:, column] * buckets).astype(np.int64), buckets - 1)
            np.add.at(self.histogram[row], (np.asarray(label == column, np.int64), bucket), 1)

    def _confidence(self, label: Array, probabilities: Array, predicted: Array) -> tuple[Array, Array]:
        if self.classes == 2:  # noqa: PLR2004
            return probabilities[:, 1], (label == 1).astype(float)
        return probabilities.max(1), (predicted == label).astype(float)

    def merge(self, other: "ClassSums") -> None:
        """Add the sums of another rank."""
        self.histogram += other.histogram
        if self.confusion is not None and other.confusion is not None:
            self.confusion += other.confusion
        self.truth += other.truth
        self.calibration += other.calibration
        self.totals += other.totals

    def metrics(self) -> dict[str, Any]:
        """The metrics of all rows added so far."""
        rows = self.calibration[:, 0].sum()
        if not rows:
            return {"rows": 0}
        filled = self.calibration[self.calibration[:, 0] > 0]
        gaps = np.abs(filled[:, 1] - filled[:, 2]).sum() / rows
        loss, correct = self.totals
        return {
            "rows": int(rows),
            "auc": self._auc(),
            "log_loss": float(loss / rows),
            "accuracy": float(correct / rows),
            "calibration_error": float(gaps),
            **({} if self.confusion is None else {"confusion": self.confusion.astype(int).tolist()}),
        }

    def _auc(self) -> float | None:
        areas = []
        for negative, positive in self.histogram:
            if negative.sum() and positive.sum():
                below = np.cumsum(negative) - negative / 2
                areas.append(float((positive * below).sum() / (negative.sum() * positive.sum())))
        return float(np.mean(areas)) if areas else None

    def baseline(self, share: Array) -> dict[str, Any]:
        """The metrics of the same rows for a model that always predicts the class shares of the train split."""
        truth = self.truth
        rows = truth.sum()
        if not rows:
            return {"rows": 0}
        top = int(share.argmax())
        clipped = np.clip(share, EPSILON, 1 - EPSILON)
        predicted, observed = (share[1], truth[1]) if self.classes == 2 else (share[top], truth[top])  # noqa: PLR2004
        return {
            "rows": int(rows),
            "auc": 0.5,
            "log_loss": float(-(truth * np.log(clipped)).sum() / rows),
            "accuracy": float(truth[top] / rows),
            "calibration_error": float(abs(predicted - observed / rows)),
        }


@dataclass
class ValueSums:
    """Sums over rows of a regression.

    Attributes:
        mean: Mean of the train split, which the baseline always predicts.
        sums: Rows, |error|, error^2, value, value^2, |value - mean|.
    """

    mean: float
    sums: Array = field(default_factory=lambda: np.zeros(6))

    def add(self, label: Array, predicted: Array) -> None:
        """Count rows; both of shape (rows,)."""
        value = label.astype(np.float64)
        error = predicted.astype(np.float64) - value
        # Differences to the train mean: the variance of large values would lose precision in a sum of their squares.
        centred = value - self.mean
        self.sums += [
            len(value),
            np.abs(error).sum(),
            (error**2).sum(),
            centred.sum(),
            (centred**2).sum(),
            np.abs(centred).sum(),
        ]

    def metrics(self) -> dict[str, Any]:
        """The metrics of all rows added so far."""
        return self._metrics(absolute=self.sums[1], squared=self.sums[2])

    def baseline(self) -> dict[str, Any]:
        """The metrics of the same rows for a model that always predicts the mean of the train split."""
        return self._metrics(absolute=self.sums[5], squared=self.sums[4])

    def _metrics(self, *, absolute: float, squared: float) -> dict[str, Any]:
        rows, centred, squares = self.sums[0], self.sums[3], self.sums[4]
        if not rows:
            return {"rows": 0}
        spread = squares - centred**2 / rows
        return {
            "rows": int(rows),
            "mae": float(absolute / rows),
            "rmse": float(np.sqrt(squared / rows)),
            "r2": float(1 - squared / spread) if spread > 0 else None,
        }


Sums = ClassSums | ValueSums


def merge_sums(parts: list[Sums]) -> Sums:
    """Add the sums of several ranks."""
    merged = copy.deepcopy(parts[0])
    for part in parts[1:]:
        if isinstance(merged, ClassSums) and isinstance(part, ClassSums):
            merged.merge(part)
        if isinstance(merged, ValueSums) and isinstance(part, ValueSums):
            merged.sums += part.sums
    return merged


def difference(metric: str, new: float, old: float) -> float:
    """How much better `new` is than `old`; negative if it is worse."""
    return new - old if HIGHER_IS_BETTER[metric] else old - new


def flatten(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that are single numbers and have a value, by name."""
    return {name: value for name, value in metrics.items() if name in HIGHER_IS_BETTER and value is not None}
