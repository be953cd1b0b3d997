"""Quality measures from sums that ranks can add, so that no row leaves its rank.

AUC is the trapezoid area over a histogram of scores (2^14 bins for two classes, so its error is far below 1e-4);
the calibration error is the expected one over 15 equal-width bins (Guo et al., 2017, "On Calibration of Modern
Neural Networks").
"""

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
"""Every metric that a gate may name, and its good direction."""

BINS: Final = 1 << 14
CALIBRATION_BINS: Final = 15
EPSILON: Final = 1e-7
"""Probabilities are clipped this far from 0 and 1, so that one sure and wrong row does not make the loss infinite."""


@dataclass
class ClassSums:
    """Sums over rows of a classification; two add up by adding their arrays.

    Attributes:
        classes: How many classes.
        histogram: Rows by (one-vs-rest class, is that class, score bin); for two classes only the second is kept.
        confusion: Rows by (true class, predicted class).
        calibration: By confidence bin: rows, summed confidence, correct rows.
        loss: Summed log loss.
    """

    classes: int
    histogram: Array = field(default_factory=lambda: np.zeros(0))
    confusion: Array = field(default_factory=lambda: np.zeros(0))
    calibration: Array = field(default_factory=lambda: np.zeros((CALIBRATION_BINS, 3)))
    loss: Array = field(default_factory=lambda: np.zeros(1))

    def __post_init__(self) -> None:
        if not self.histogram.size:
            scored = 1 if self.classes == 2 else self.classes  # noqa: PLR2004
            self.histogram = np.zeros((scored, 2, max(256, BINS // (scored * scored))))
            self.confusion = np.zeros((self.classes, self.classes))

    def add(self, label: Array, probabilities: Array) -> None:
        """Count rows.

        Args:
            label: Class numbers, shape (rows,); -1, a class unknown to training, always counts as wrong.
            probabilities: Shape (rows, classes).
        """
        known = label >= 0
        truth = np.where(known, label, 0)
        predicted = probabilities.argmax(1)
        np.add.at(self.confusion, (truth[known], predicted[known]), 1)
        own = np.where(known, probabilities[np.arange(len(label)), truth], 0.0)
        self.loss += -np.log(np.clip(own, EPSILON, 1 - EPSILON)).sum()
        bins = self.histogram.shape[2]
        for row in range(len(self.histogram)):
            column = 1 if self.classes == 2 else row  # noqa: PLR2004
            place = np.minimum((probabilities[:, column] * bins).astype(np.int64), bins - 1)
            np.add.at(self.histogram[row], (np.asarray(label == column, np.int64), place), 1)
        confidence, correct = self._confidence(label, probabilities, predicted)
        place = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
        np.add.at(self.calibration, place, np.stack([np.ones(len(label)), confidence, correct], 1))

    def _confidence(self, label: Array, probabilities: Array, predicted: Array) -> tuple[Array, Array]:
        if self.classes == 2:  # noqa: PLR2004
            return probabilities[:, 1], (label == 1).astype(float)
        return probabilities.max(1), (predicted == label).astype(float)

    def metrics(self) -> dict[str, Any]:
        """The metrics of all rows added so far."""
        rows = self.calibration[:, 0].sum()
        if not rows:
            return {"rows": 0}
        filled = self.calibration[self.calibration[:, 0] > 0]
        gaps = np.abs(filled[:, 1] - filled[:, 2]).sum() / rows
        return {
            "rows": int(rows),
            "auc": self._auc(),
            "log_loss": float(self.loss[0] / rows),
            "accuracy": float(np.trace(self.confusion) / rows),
            "calibration_error": float(gaps),
            "confusion": self.confusion.astype(int).tolist(),
        }

    def _auc(self) -> float | None:
        areas = []
        for negative, positive in self.histogram:
            if negative.sum() and positive.sum():
                below = np.cumsum(negative) - negative / 2
                areas.append(float((positive * below).sum() / (negative.sum() * positive.sum())))
        return float(np.mean(areas)) if areas else None

    def baseline(self, share: Array) -> dict[str, Any]:
        """The metrics of the same rows for a model that always answers the train split's class shares."""
        truth = self.confusion.sum(1)
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
        mean: The train split's mean: what the baseline always answers.
        sums: Rows, |error|, error^2, value, value^2, |value - mean|.
    """

    mean: float
    sums: Array = field(default_factory=lambda: np.zeros(6))

    def add(self, label: Array, predicted: Array) -> None:
        """Count rows; both of shape (rows,)."""
        value = label.astype(np.float64)
        error = predicted.astype(np.float64) - value
        # Centred on the train mean, so that the squares of large values do not cancel.
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
        """The metrics of the same rows for a model that always answers the train split's mean."""
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
    first = parts[0]
    if isinstance(first, ClassSums):
        classes = [part for part in parts if isinstance(part, ClassSums)]
        return ClassSums(
            first.classes,
            sum((p.histogram for p in classes), np.zeros_like(first.histogram)),
            sum((p.confusion for p in classes), np.zeros_like(first.confusion)),
            sum((p.calibration for p in classes), np.zeros_like(first.calibration)),
            sum((p.loss for p in classes), np.zeros(1)),
        )
    values = [part for part in parts if isinstance(part, ValueSums)]
    return ValueSums(first.mean, sum((p.sums for p in values), np.zeros(6)))


def difference(metric: str, new: float, old: float) -> float:
    """How much better `new` is than `old`, in the metric's good direction."""
    return new - old if HIGHER_IS_BETTER[metric] else old - new


def flatten(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The single numbers among metrics, by name."""
    return {name: value for name, value in metrics.items() if name in HIGHER_IS_BETTER and value is not None}
