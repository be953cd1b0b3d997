"""Metrics of a regression, from sums that ranks can add."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass
class ValueSums:
    """Sums over rows of a regression.

    Attributes:
        mean: Mean of the train split, which the baseline always predicts.
        sums: Rows, |error|, error^2, value - mean, (value - mean)^2, |value - mean|.
        extremes: Smallest and largest value; the sums of equal values may differ by rounding.
        unlabelled: Rows without a label, which are left out.
    """

    mean: float
    sums: Array = field(default_factory=lambda: np.zeros(6))
    extremes: tuple[float, float] = (np.inf, -np.inf)
    unlabelled: int = 0

    def add(self, label: Array, predicted: Array) -> None:
        """Count rows; both of shape (rows,). Rows whose label is NaN are left out."""
        known = np.isfinite(label)
        self.unlabelled += int((~known).sum())
        value = label[known].astype(np.float64)
        self.extremes = (
            min(self.extremes[0], value.min(initial=np.inf)),
            max(self.extremes[1], value.max(initial=-np.inf)),
        )
        error = predicted[known].astype(np.float64) - value
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

    def merge(self, other: "ValueSums") -> None:
        """Add the sums of another rank."""
        self.sums = self.sums + other.sums
        self.extremes = min(self.extremes[0], other.extremes[0]), max(self.extremes[1], other.extremes[1])
        self.unlabelled += other.unlabelled

    def metrics(self) -> dict[str, Any]:
        """The metrics of all rows added so far."""
        return self._metrics(absolute=self.sums[1], squared=self.sums[2])

    def baseline(self) -> dict[str, Any]:
        """The metrics of the same rows for a model that always predicts the mean of the train split."""
        return self._metrics(absolute=self.sums[5], squared=self.sums[4])

    def _metrics(self, *, absolute: float, squared: float) -> dict[str, Any]:
        rows, centred, squares = self.sums[0], self.sums[3], self.sums[4]
        left_out = {"unlabelled_rows": self.unlabelled} if self.unlabelled else {}
        if not rows:
            return {"rows": 0, **left_out}
        spread = squares - centred**2 / rows
        return {
            "rows": int(rows),
            **left_out,
            "mae": float(absolute / rows),
            "rmse": float(np.sqrt(squared / rows)),
            "r2": float(1 - squared / spread) if spread > 0 and self.extremes[0] < self.extremes[1] else None,
        }
