"""What may go wrong in training.

Refused
└── GateFailed        the model is worse than the product file allows
DataRejected
├── NotTrainable      the table cannot teach this: no rows, one class, a column of nulls
├── Diverged          the loss or the weights are no longer finite
└── ReplayMismatch    the exported model answers otherwise than training did
Unavailable
└── RankFailed        a rank raised, hung or died
"""

from collections.abc import Sequence

from millrace.errors import DataRejected, Refused, Unavailable


class GateFailed(Refused):
    """The model is outside a bound of ``evaluate.gates``; it is not published."""

    def __init__(self, failures: Sequence[str]) -> None:
        super().__init__(
            "the model is not published: " + "; ".join(failures),
            hint="improve the model or the data, or change evaluate.gates",
        )
        self.failures = tuple(failures)


class NotTrainable(DataRejected):
    """The table version cannot teach what the product file asks for."""


class Diverged(DataRejected):
    """Training produced values that are not finite."""

    def __init__(self, what: str, epoch: int) -> None:
        super().__init__(f"training diverged in epoch {epoch}: {what}", hint="lower train.learning_rate")
        self.epoch = epoch


class ReplayMismatch(DataRejected):
    """The exported model, loaded in a fresh process, answers otherwise than training did."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the exported model failed its replay: {reason}")


class RankFailed(Unavailable):
    """A rank raised, hung or died, and the run ended with it."""

    def __init__(self, rank: int | None, reason: str) -> None:
        name = "a rank" if rank is None else f"rank {rank}"
        super().__init__(
            f"{name} failed: {reason}",
            hint="the rank's own output stands above; run again after mending it",
        )
        self.rank = rank
        self.reason = reason
