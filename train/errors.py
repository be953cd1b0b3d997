"""The errors of the training stage.

Refused
└── GateFailed        the model does not meet evaluate.gates of the product file
DataRejected
├── NotTrainable      the table cannot be used to train this: no rows, one class, a column of nulls
├── Diverged          the loss is not finite
└── ReplayMismatch    the exported model gives other outputs than the trained model
Unavailable
└── RankLost          a rank died or hung
Broken
└── RankRaised        the program of a rank raised another error, or ranks have different weights
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from millrace.errors import Broken, DataRejected, Refused, Unavailable


class GateFailed(Refused):
    """A metric is outside a bound of ``evaluate.gates``; the model is not published."""

    def __init__(self, failures: Sequence[str], metrics: Mapping[str, Any] = MappingProxyType({})) -> None:
        super().__init__(
            "the model is not published: " + "; ".join(failures),
            hint="improve the model or the data, or change evaluate.gates",
        )
        self.failures = tuple(failures)
        self.details = {"failures": list(failures), "metrics": dict(metrics)}


class NotTrainable(DataRejected):
    """The table version cannot be used to train the model that the product file describes."""


class Diverged(DataRejected):
    """The training or validation loss is not finite."""

    def __init__(self, what: str, epoch: int, *, hint: str = "lower train.learning_rate") -> None:
        super().__init__(f"training diverged in epoch {epoch}: {what}", hint=hint)
        self.epoch = epoch


class ReplayMismatch(DataRejected):
    """The exported model, loaded in a new process, gives other outputs than the trained model."""

    def __init__(self, reason: str, *, hint: str = "") -> None:
        super().__init__(f"the exported model failed its replay: {reason}", hint=hint)


class RankLost(Unavailable):
    """A rank died, hung, or lost its connection to another; another try may succeed."""

    def __init__(self, rank: int | None, reason: str) -> None:
        super().__init__(
            f"{_name(rank)} was lost: {reason}",
            hint="see the rank's output above; run again, with less memory or fewer ranks if it was killed",
        )
        self.rank = rank
        self.reason = reason


class RankRaised(Broken):
    """The program of a rank raised an error that is none of the project's, or the ranks have different weights."""

    def __init__(self, rank: int, reason: str, *, hint: str = "see the rank's output above; fix the cause") -> None:
        super().__init__(f"{_name(rank)} failed: {reason}", hint=hint)
        self.rank = rank
        self.reason = reason


def _name(rank: int | None) -> str:
    return "a rank" if rank is None else f"rank {rank}"
