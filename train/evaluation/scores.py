"""Scores of a classification, from which AUC and average precision are computed: all of them, or counts in buckets.

With all scores both metrics are exact. With buckets two rows in the same bucket count as a tie: the AUC differs from
the exact one by at most half the share of (positive, negative) pairs that are in one bucket.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

EXACT: Final = 1 << 22
"""Scores that all ranks together keep, 20 MB; of a larger test split only counts are kept."""
BUCKETS: Final = 1 << 14
"""Most score buckets of a class."""
ALL_BUCKETS: Final = 1 << 21
"""Most buckets of all classes together: 32 MB."""
MIN_BUCKETS: Final = 1 << 8
"""Fewest score buckets, however many classes there are."""
LOGITS: Final = (-24.0, 17.0)
"""Range of the logits that the buckets tell apart; the largest float32 below 1 has a logit of 16.6."""


@dataclass
class AllScores:
    """Every score and its label.

    Attributes:
        columns: The classes whose scores are kept.
        parts: Labels, shape (rows,), and scores, shape (rows, columns).
    """

    columns: tuple[int, ...]
    parts: list[tuple[Array, Array]] = field(default_factory=list)

    def add(self, label: Array, probabilities: Array) -> None:
        """Keep the scores of rows; labels of shape (rows,), probabilities of shape (rows, classes)."""
        self.parts.append((label.astype(np.int32), probabilities[:, list(self.columns)]))

    def merge(self, other: "AllScores") -> None:
        """Add those of another rank."""
        self.parts = [*self.parts, *other.parts]

    def counts(self) -> list[tuple[Array, Array]]:
        """For each column, rows of other classes and of the class by score, in rising order of the score."""
        label = np.concatenate([label for label, _ in self.parts])
        scores = np.concatenate([scores for _, scores in self.parts])
        found = []
        for position, column in enumerate(self.columns):
            values, place = np.unique(scores[:, position], return_inverse=True)
            is_class = label == column
            every, own = (np.bincount(place[chosen], minlength=len(values)) for chosen in (slice(None), is_class))
            found.append(((every - own).astype(float), own.astype(float)))
        return found


@dataclass
class ScoreHistogram:
    """Counts of scores in buckets, which are narrow near 0 and 1: the scores of a rare class are all small.

    Attributes:
        columns: The classes whose scores are counted.
        buckets: How many for each class.
        histogram: Rows by (column, is that class, bucket).
    """

    columns: tuple[int, ...]
    buckets: int
    histogram: Array = field(init=False)

    def __post_init__(self) -> None:
        self.histogram = np.zeros((len(self.columns), 2, self.buckets))

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
        """Count the scores of rows; labels of shape (rows,), probabilities of shape (rows, classes)."""
        for column, counts in zip(self.columns, self.histogram, strict=True):
            bucket = buckets_of(probabilities[:, column], self.buckets)
            np.add.at(counts, (np.asarray(label == column, np.int64), bucket), 1)

    def merge(self, other: "ScoreHistogram") -> None:
        """Add those of another rank."""
        self.histogram = self.histogram + other.histogram

    def counts(self) -> list[tuple[Array, Array]]:
        """For each column, rows of other classes and of the class by bucket, in rising order of the score."""
        return [(negative, positive) for negative, positive in self.histogram]


def new_scores(classes: int, *, of_slice: bool, exact: bool) -> AllScores | ScoreHistogram:
    """Empty scores: of the second of two classes, or of each of more classes.

    Args:
        classes: How many classes.
        of_slice: Whether they are those of a slice; there may be 200 slices, so each has fewer buckets.
        exact: Keep all scores.
    """
    columns = (1,) if classes == 2 else tuple(range(classes))  # noqa: PLR2004
    if exact:
        return AllScores(columns)
    buckets = BUCKETS // len(columns) ** 2 if of_slice else min(BUCKETS, ALL_BUCKETS // len(columns))
    return ScoreHistogram(columns, max(MIN_BUCKETS, buckets))


def buckets_of(scores: Array, buckets: int) -> Array:
    """The bucket of each score: a half of all buckets have equal widths, a half equal widths of the logit."""
    score = scores.astype(np.float64)
    with np.errstate(divide="ignore"):
        logit = np.clip(np.log(score) - np.log1p(-score), *LOGITS)
    place = (score + (logit - LOGITS[0]) / (LOGITS[1] - LOGITS[0])) / 2
    bucket: Array = np.minimum((place * buckets).astype(np.int64), buckets - 1)
    return bucket


def auc(negative: Array, positive: Array) -> float | None:
    """Area under the ROC curve, from rows by rising score; None if there is no row of one kind."""
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
