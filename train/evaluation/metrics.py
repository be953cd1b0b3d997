"""The metrics of all tasks: their names, and how sums of several ranks become metrics."""

import copy
from collections.abc import Mapping
from typing import Any, Final

from train.evaluation.classes import ClassSums
from train.evaluation.values import ValueSums

HIGHER_IS_BETTER: Final = {
    "auc": True,
    "pr_auc": True,
    "log_loss": False,
    "accuracy": True,
    "precision": True,
    "recall": True,
    "f1": True,
    "calibration_error": False,
    "mae": False,
    "rmse": False,
    "r2": True,
}
"""Every metric that a gate may name, and whether a higher value is better."""

Sums = ClassSums | ValueSums


def merge_sums(parts: list[Sums]) -> Sums:
    """Add the sums of several ranks."""
    merged = copy.deepcopy(parts[0])
    for part in parts[1:]:
        if isinstance(merged, ClassSums) and isinstance(part, ClassSums):
            merged.merge(part)
        if isinstance(merged, ValueSums) and isinstance(part, ValueSums):
            merged.merge(part)
    return merged


def difference(metric: str, new: float, old: float) -> float:
    """How much better `new` is than `old`; negative if it is worse."""
    return new - old if HIGHER_IS_BETTER[metric] else old - new


def flatten(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that are single numbers and have a value, by name."""
    return {name: value for name, value in metrics.items() if name in HIGHER_IS_BETTER and value is not None}
