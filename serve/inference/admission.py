"""Admission control: which predictions the server accepts.

It accepts up to `serve.max_requests` predictions at the same time, and per model as many as it can answer within the
latency target. The estimated wait of a new request is the number of requests before it times the mean time between two
answers. So there is nothing to adapt when the load changes. A request with a longer estimated wait is refused before
its body is read. ADR 17 explains the choice.
"""

import math
import time
from typing import Final

from serve.errors import Overloaded

ALWAYS_ACCEPTED: Final = 2
"""Requests per model that are always accepted. Otherwise a model that is slower than the target would never answer."""
MIN_ANSWERS: Final = 16
"""The estimate uses at least about this many answers, however long ago they were."""


class Admission:
    """Counts the running predictions, and refuses those over the limit.

    Args:
        limit: Most predictions at the same time, of all models.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.inside = 0
        """The number of running predictions."""

    def enter(self, rate: "ServiceRate", target_s: float | None = None) -> "Admitted":
        """Accept a request, for a ``with`` statement.

        Args:
            rate: The service rate of the model version.
            target_s: The latency target. None: only the limit counts.

        Raises:
            Overloaded: The limit is reached, or the estimated wait is over the target.
        """
        if self.inside >= self._limit:
            raise Overloaded(f"{self.inside} requests are being answered")
        now = time.perf_counter()
        if target_s is not None and rate.inside >= ALWAYS_ACCEPTED:
            wait_s = rate.wait_s(now)
            if wait_s > target_s:
                raise Overloaded(f"an answer would take {wait_s:.2g} s")
        return Admitted(self, rate, now, target_s)


class ServiceRate:
    """The running predictions of one model version, and how fast it answers."""

    def __init__(self) -> None:
        self.inside = 0
        """The number of running predictions."""
        # Decaying sums: the time in which predictions were running, and the number of answers in it.
        self._busy_s = 0.0
        self._answers = 0.0
        self._since = 0.0
        """Time of the last answer, or of the first request after an idle time."""

    def wait_s(self, now: float) -> float:
        """The estimated seconds until one more request has its answer; 0 before the first answer.

        Args:
            now: By `time.perf_counter`.
        """
        if not self._answers:
            return 0.0
        # At least the time since the last answer: a model that hangs is noticed before it answers.
        return max((self.inside + 1) * self._busy_s / self._answers, now - self._since)

    def enter(self, now: float) -> None:
        """Count a new request."""
        if not self.inside:
            self._since = now  # idle time does not count
        self.inside += 1

    def leave(self, now: float, window_s: float) -> None:
        """Count an answer.

        Args:
            now: By `time.perf_counter`.
            window_s: Older answers have a weight of a third and less, except the last `MIN_ANSWERS`.
        """
        self.inside -= 1
        elapsed, self._since = now - self._since, now
        keep = max(math.exp(-elapsed / window_s), 1 - 1 / MIN_ANSWERS)
        self._busy_s = self._busy_s * keep + elapsed
        self._answers = self._answers * keep + 1


class Admitted:
    """A request that was accepted."""

    __slots__ = ("_admission", "_rate", "_window_s")

    def __init__(self, admission: Admission, rate: ServiceRate, now: float, target_s: float | None) -> None:
        self._admission = admission
        self._rate = rate
        self._window_s = target_s
        admission.inside += 1
        rate.enter(now)

    def __enter__(self) -> None:
        """The request was counted when this object was created."""

    def __exit__(self, *_: object) -> None:
        self._admission.inside -= 1
        if self._window_s is None:
            self._rate.inside -= 1
        else:
            self._rate.leave(time.perf_counter(), self._window_s)
