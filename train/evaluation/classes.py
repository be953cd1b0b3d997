"""Metrics of a classification, from sums that ranks can add, so that no row is sent to another rank.

The calibration error is the expected one over 15 equal-width bins (Guo et al., 2017, "On Calibration of Modern Neural
Networks"). AUC and PR-AUC (average precision) come from `train.evaluation.scores`. With two classes, precision,
recall and F1 are those of the second class; with more, as AUC and PR-AUC, the means over the classes that occur.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from train.data.target import THRESHOLD
from train.data.tensors import MISSING, UNKNOWN
from train.evaluation.scores import AllScores, ScoreHistogram, auc, average_precision, new_scores

Array = npt.NDArray[Any]

MAX_CONFUSION: Final = 100
"""With more classes there is no confusion matrix: it would be larger than the model."""
CALIBRATION_BINS: Final = 15
EPSILON: Final = 1e-7
"""Probabilities are clipped to this distance from 0 and 1: one confident wrong row must not make the loss infinite."""
TWO: Final = 2


@dataclass
class ClassSums:
    """Sums over rows of a classification. Rows without a label, or of a class unknown to training, are left out.

    Attributes:
        classes: How many classes.
        of_slice: Whether the rows are those of a slice, which has no confusion matrix.
        exact: Whether all scores are kept, for an exact AUC.
        most_probable: Whether the model answers the most probable class also of two; otherwise the second class is
            answered from a probability of `THRESHOLD` on.
        scores: For AUC and average precision.
        confusion: Rows by (true class, predicted class); None for a slice, and for more than `MAX_CONFUSION` classes.
        truth: Rows by true class.
        predicted: Rows by predicted class.
        correct: Correct rows by class.
        calibration: By confidence bin: rows, summed confidence, correct rows.
        loss: Summed log loss.
        left_out: Rows of an unknown class, rows without a label.
    """

    classes: int
    of_slice: bool = False
    exact: bool = False
    most_probable: bool = False
    scores: AllScores | ScoreHistogram = field(init=False)
    confusion: Array | None = field(init=False)
    truth: Array = field(init=False)
    predicted: Array = field(init=False)
    correct: Array = field(init=False)
    calibration: Array = field(default_factory=lambda: np.zeros((CALIBRATION_BINS, 3)), init=False)
    loss: float = field(default=0.0, init=False)
    left_out: Array = field(default_factory=lambda: np.zeros(2, np.int64), init=False)

    def __post_init__(self) -> None:
        self.scores = new_scores(self.classes, of_slice=self.of_slice, exact=self.exact)
        has_matrix = not self.of_slice and self.classes <= MAX_CONFUSION
        self.confusion = np.zeros((self.classes, self.classes)) if has_matrix else None
        self.truth, self.predicted, self.correct = (np.zeros(self.classes) for _ in range(3))

    @property
    def _by_threshold(self) -> bool:
        return self.classes == TWO and not self.most_probable

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
        predicted = is_second.astype(np.int64) if self._by_threshold else probabilities.argmax(1)
        is_correct = predicted == label
        np.add.at(self.truth, label, 1)
        np.add.at(self.predicted, predicted, 1)
        np.add.at(self.correct, label[is_correct], 1)
        if self.confusion is not None:
            np.add.at(self.confusion, (label, predicted), 1)
        own = probabilities[np.arange(len(label)), label].astype(np.float64)
        self.loss -= float(np.log(np.clip(own, EPSILON, 1 - EPSILON)).sum())
        self.scores.add(label, probabilities)
        confidence = probabilities[:, 1] if self.classes == TWO else probabilities.max(1)
        happened = label == 1 if self.classes == TWO else is_correct
        bin_ = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
        np.add.at(self.calibration, bin_, np.stack([np.ones(len(label)), confidence, happened], 1))

    def merge(self, other: "ClassSums") -> None:
        """Add the sums of another rank."""
        for name in ("truth", "predicted", "correct", "calibration", "loss", "left_out"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.scores.merge(other.scores)  # type: ignore[arg-type] # of the same kind on all ranks
        if self.confusion is not None and other.confusion is not None:
            self.confusion = self.confusion + other.confusion

    def metrics(self) -> dict[str, Any]:
        """The metrics of all rows added so far; None for what these rows cannot tell."""
        rows = self.truth.sum()
        if not rows:
            return {"rows": 0, **self._left_out()}
        counts = self.scores.counts()
        filled = self.calibration[self.calibration[:, 0] > 0]
        return {
            "rows": int(rows),
            **self._left_out(),
            "auc": _mean([auc(*each) for each in counts]),
            "pr_auc": _mean([average_precision(*each) for each in counts]),
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
        top = int(share[1] >= THRESHOLD) if self._by_threshold else int(share.argmax())
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
