"""The errors of the training stage.

Refused
└── GateFailed        the model does not meet evaluate.gates of the product file
DataRejected
├── NotTrainable      the table cannot be used to train this: no rows, one class, a column of nulls
├── Diverged          the loss is not finite
└── ReplayMismatch    the exported model gives other outputs than the trained model
Unavailable
└── RankFailed        a rank raised an error, hung or died
"""

from collections.abc import Sequence

from millrace.errors import DataRejected, Refused, Unavailable


class GateFailed(Refused):
    """A metric is outside a bound of ``evaluate.gates``; the model is not published."""

    def __init__(self, failures: Sequence[str]) -> None:
        super().__init__(
            "the model is not published: " + "; ".join(failures),
            hint="improve the model or the data, or change evaluate.gates",
        )
        self.failures = tuple(failures)


class NotTrainable(DataRejected):
    """The table version cannot be used to train the model that the product file describes."""


class Diverged(DataRejected):
    """The training or validation loss is not finite."""

    def __init__(self, what: str, epoch: int) -> None:
        super().__init__(f"training diverged in epoch {epoch}: {what}", hint="lower train.learning_rate")
        self.epoch = epoch


class ReplayMismatch(DataRejected):
    """The exported model, loaded in a new process, gives other outputs than the trained model."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the exported model failed its replay: {reason}")


class RankFailed(Unavailable):
    """A rank raised an error, hung or died; the run has ended."""

    def __init__(self, rank: int | None, reason: str) -> None:
        name = "a rank" if rank is None else f"rank {rank}"
        super().__init__(
            f"{name} failed: {reason}",
            hint="see the rank's output above; fix the cause and run again",
        )
        self.rank = rank
        self.reason = reason
