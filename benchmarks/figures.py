"""What a benchmark prints."""

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
"""Judge on the last tenth of the year; days that training never saw cannot be categories."""


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        what: Its name.
        got: The value.
        beside: The reference in the same run.
        goal: The aim.
        reached: Whether the aim was reached.
    """

    what: str
    got: str
    beside: str
    goal: str
    reached: bool
