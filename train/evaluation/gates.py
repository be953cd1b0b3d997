"""Checks the metrics of a model against ``evaluate.gates``."""

import math
from collections.abc import Mapping
from typing import Any

from millrace.config.sections.train import Gate
from train.evaluation.metrics import difference


def check_gates(gates: Mapping[str, Gate], metrics: Mapping[str, Any], previous: Mapping[str, Any] | None) -> list[str]:
    """Return a message for each bound that the model does not meet.

    Args:
        gates: Bounds by metric.
        metrics: Of the model on the test split.
        previous: Of the previous version on the same rows; None if there is none to compare with.
    """
    failures = []
    for name, gate in gates.items():
        value = metrics.get(name)
        if value is None or not math.isfinite(value):
            failures.append(f"{name} could not be measured on the test rows, such as with one class or equal labels")
            continue
        if gate.min is not None and value < gate.min:
            failures.append(f"{name} {value:.4f} is below {gate.min} by {gate.min - value:.4f}")
        if gate.max is not None and value > gate.max:
            failures.append(f"{name} {value:.4f} is above {gate.max} by {value - gate.max:.4f}")
        before = previous.get(name) if previous else None
        if gate.vs_previous is not None and before is not None and math.isfinite(before):
            gain = difference(name, value, before)
            if gain < gate.vs_previous:
                failures.append(
                    f"{name} {value:.4f} against {before:.4f} of the previous version: "
                    f"{gain:+.4f}, at least {gate.vs_previous:+} is needed"
                )
    return failures
