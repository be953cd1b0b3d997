"""Metrics of a classification, from sums that ranks can add, so that no row is sent to another rank.

AUC and PR-AUC (average precision) are computed from a histogram of scores: two rows in the same bucket count as a tie.
The AUC differs from the exact one by at most half the share of (positive, negative) pairs that are in one bucket.
Buckets are narrow near 0 and 1: the scores of a rare class are all small.

The calibration error is the expected one over 15 equal-width bins (Guo et al., 2017, "On Calibration of Modern Neural
Networks"). All other metrics are exact. With two classes, precision, recall and F1 are those of the second class; with
more, as AUC and PR-AUC, the means over the classes that occur.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from train.data.target import THRESHOLD
from train.data.tensors import MISSING, UNKNOWN

Array = npt.NDArray[Any]

BUCKETS: Final = 1 << 14
"""Score buckets of a histogram with two classes."""
MIN_BUCKETS: Final = 1 << 8
"""Fewest score buckets, however many classes there are."""
CALIBRATION_BINS: Final = 15
EPSILON: Final = 1e-7
"""Probabilities are clipped to this distance from 0 and 1: one confident wrong row must not make the loss infinite."""
LOGITS: Final = (-24.0, 17.0)
"""Range of the logits that the buckets tell apart; the largest float32 below 1 has a logit of 16.6."""
TWO: Final = 2


@dataclass
class ClassSums:
    """Sums over rows of a classification. Rows without a label, or of a class unknown to training, are left out.

    Attributes:
        classes: How many classes.
        of_slice: Whether the rows are those of a slice, which has no confusion matrix.
        histogram: Rows by (one-vs-rest class, is that class, score bucket); two classes have the second one only.
        confusion: Rows by (true class, predicted class); None for a slice.
        truth: Rows by true class.
        predicted: Rows by predicted class.
        correct: Correct rows by class.
        calibration: By confidence bin: rows, summed confidence, correct rows.
        loss: Summed log loss.
        left_out: Rows of an unknown class, rows without a label.
    """

    classes: int
    of_slice: bool = False
    histogram: Array = field(init=False)
    confusion: Array | None = field(init=False)
    truth: Array = field(init=False)
    predicted: Array = field(init=False)
    correct: Array = field(init=False)
    calibration: Array = field(default_factory=lambda: np.zeros((CALIBRATION_BINS, 3)), init=False)
    loss: float = field(default=0.0, init=False)
    left_out: Array = field(default_factory=lambda: np.zeros(2, np.int64), init=False)

    def __post_init__(self) -> None:
        scored = 1 if self.classes == TWO else self.classes
        buckets = max(MIN_BUCKETS, BUCKETS // (scored * scored))
        self.histogram = np.zeros((scored, 2, buckets))
        self.confusion = None if self.of_slice else np.zeros((self.classes, self.classes))
        self.truth, self.predicted, self.correct = (np.zeros(self.classes) for _ in range(3))

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
            label: Encoded labels, shape (rows,); see `train.data.tensors.encode_labels`.
            probabilities: Finite, shape (rows, classes).
        """
        known = label >= 0
        self.left_out += [(label == UNKNOWN).sum(), (label == MISSING).sum()]
        label, probabilities = label[known], probabilities[known]
        # As the output `class` of the exported model, also where probabilities are equal.
        is_second = probabilities[:, 1] >= THRESHOLD
        predicted = is_second.astype(np.int64) if self.classes == TWO else probabilities.argmax(1)
        is_correct = predicted == label
        np.add.at(self.truth, label, 1)
        np.add.at(self.predicted, predicted, 1)
        np.add.at(self.correct, label[is_correct], 1)
        if self.confusion is not None:
            np.add.at(self.confusion, (label, predicted), 1)
        own = probabilities[np.arange(len(label)), label].astype(np.float64)
        self.loss -= float(np.log(np.clip(own, EPSILON, 1 - EPSILON)).sum())
        self._add_scores(label, probabilities)
        confidence = probabilities[:, 1] if self.classes == TWO else probabilities.max(1)
        happened = label == 1 if self.classes == TWO else is_correct
        bin_ = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
        np.add.at(self.calibration, bin_, np.stack([np.ones(len(label)), confidence, happened], 1))

    def _add_scores(self, label: Array, probabilities: Array) -> None:
        for row, counts in enumerate(self.histogram):
            column = 1 if self.classes == TWO else row
            bucket = buckets_of(probabilities[:, column], counts.shape[1])
            np.add.at(counts, (np.asarray(label == column, np.int64), bucket), 1)

    def merge(self, other: "ClassSums") -> None:
        """Add the sums of another rank."""
        for name in ("histogram", "truth", "predicted", "correct", "calibration", "loss", "left_out"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if self.confusion is not None and other.confusion is not None:
            self.confusion = self.confusion + other.confusion

    def metrics(self) -> dict[str, Any]:
        """The metrics of all rows added so far; None for what these rows cannot tell."""
        rows = self.truth.sum()
        if not rows:
            return {"rows": 0, **self._left_out()}
        filled = self.calibration[self.calibration[:, 0] > 0]
        return {
            "rows": int(rows),
            **self._left_out(),
            "auc": _mean([auc(*scores) for scores in self.histogram]),
            "pr_auc": _mean([average_precision(*scores) for scores in self.histogram]),
            "log_loss": float(self.loss / rows),
            "accuracy": float(self.correct.sum() / rows),
            **class_metrics(self.truth, self.predicted, self.correct),
            "calibration_error": float(np.abs(filled[:, 1] - filled[:, 2]).sum() / rows),
            **({} if self.confusion is None else {"confusion": self.confusion.astype(int).tolist()}),
        }

    def _left_out(self) -> dict[str, int]:
        counts = zip(("unknown_rows", "unlabelled_rows"), self.left_out.tolist(), strict=True)
        return {name: count for name, count in counts if count}

    def baseline(self, share: Array) -> dict[str, Any]:
        """The metrics of the same rows for a model that always predicts the class shares of the train split."""
        truth, rows = self.truth, self.truth.sum()
        if not rows:
            return {"rows": 0, **self._left_out()}
        top = int(share[1] >= THRESHOLD) if self.classes == TWO else int(share.argmax())
        always = np.zeros(self.classes)
        always[top] = 1
        clipped = np.clip(share, EPSILON, 1 - EPSILON)
        predicted, observed = (share[1], truth[1]) if self.classes == TWO else (share[top], truth[top])
        scored = truth[1:] if self.classes == TWO else truth
        return {
            "rows": int(rows),
            **self._left_out(),
            "auc": 0.5,
            "pr_auc": _mean([float(count / rows) if count else None for count in scored]),
            "log_loss": float(-(truth * np.log(clipped)).sum() / rows),
            "accuracy": float(truth[top] / rows),
            **class_metrics(truth, always * rows, always * truth),
            "calibration_error": float(abs(predicted - observed / rows)),
        }


def buckets_of(scores: Array, buckets: int) -> Array:
    """The bucket of each score: a half of all buckets have equal widths, a half equal widths of the logit."""
    score = scores.astype(np.float64)
    with np.errstate(divide="ignore"):
        logit = np.clip(np.log(score) - np.log1p(-score), *LOGITS)
    place = (score + (logit - LOGITS[0]) / (LOGITS[1] - LOGITS[0])) / 2
    bucket: Array = np.minimum((place * buckets).astype(np.int64), buckets - 1)
    return bucket


def auc(negative: Array, positive: Array) -> float | None:
    """Area under the ROC curve, from rows by score bucket; None if there is no row of one kind."""
    if not negative.sum() or not positive.sum():
        return None
    below = np.cumsum(negative) - negative / 2
    return float((positive * below).sum() / (negative.sum() * positive.sum()))


def average_precision(negative: Array, positive: Array) -> float | None:
    """Mean precision over the positive rows, each at its own score as the threshold; None without a positive row."""
    if not positive.sum():
        return None
    right, wrong = np.cumsum(positive[::-1]), np.cumsum(negative[::-1])
    return float((positive[::-1] * right / np.maximum(right + wrong, 1)).sum() / positive.sum())


def class_metrics(truth: Array, predicted: Array, correct: Array) -> dict[str, float | None]:
    """Precision, recall and F1 from rows by true class, by predicted class, and correct rows by class.

    With two classes those of the second, None where they are not defined: no such row, or none predicted. With more
    classes the means over the classes that occur, with 0 where they are not defined, as in scikit-learn.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        values = {
            "precision": correct / predicted,
            "recall": correct / truth,
            "f1": 2 * correct / (truth + predicted),
        }
    if len(truth) == TWO:
        return {name: float(value[1]) if np.isfinite(value[1]) else None for name, value in values.items()}
    occurs = (truth + predicted) > 0
    return {name: float(np.nan_to_num(value[occurs]).mean()) for name, value in values.items()}


def _mean(values: list[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return float(np.mean(measured)) if measured else None
