"""The result of a benchmark, and what several benchmarks share."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
FLIGHTS = ROOT / "conf" / "pipelines" / "flights.yaml"

TIME_SPLIT = [
    "ingest.split={by: time, column: time_hour, validation_from: '2013-10-20', test_from: '2013-11-25'}",
    "features.inputs.day_of_year={as: cyclic, period: 365.25}",
    "features.inputs.month={as: cyclic, period: 12}",
    "features.crosses=[]",
    "evaluate.gates={}",
]
"""Settings that test on the last tenth of the year, whose days are not in the training data and so not categories."""


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        name: What was measured.
        got: The result.
        reference: The result of the reference in the same run.
        goal: The required result; empty if there is none.
        reached: Whether the goal was reached.
    """

    name: str
    got: str
    reference: str
    goal: str
    reached: bool
