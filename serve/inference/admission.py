"""Admission control: which predictions the server accepts.

It accepts up to `serve.max_requests` predictions at the same time, and per model as many as it can answer within the
latency target. The estimated wait of a new request is the number of requests before it times the mean time between two
answers. So there is nothing to adapt when the load changes. A request with a longer estimated wait is refused before
its body is read. ADR 17 explains the choice.

A request counts from when its body is complete: a client that sends slowly takes no one's place. Bodies that are still
arriving have a limit of their own, which a request whose body has arrived with its head does not need. Bodies that are
being decompressed have one, too.
"""

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Final

from serve.errors import Overloaded

ALWAYS_ACCEPTED: Final = 2
"""Requests per model that are always accepted. Otherwise a model that is slower than the target would never answer."""
MIN_ANSWERS: Final = 16
"""The estimate uses at least about this many answers, however long ago they were."""


class Bodies:
    """Counts bodies in one state, and refuses those over the limit.

    Args:
        limit: As many as requests may be answered.
        state: What happens to them, for the message.

    Attributes:
        count: How many there are.
    """

    def __init__(self, limit: int, state: str) -> None:
        self._limit = limit
        self._state = state
        self.count = 0

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        """Count a body during a ``with`` statement.

        Raises:
            Overloaded: The limit is reached.
        """
        if self.count >= self._limit:
            raise Overloaded(f"{self.count} bodies are being {self._state}")
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1


class Admission:
    """Counts the running predictions, and refuses those over the limit.

    Args:
        limit: Most predictions at the same time, of all models.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.inside = 0
        """The number of running predictions."""
        self.arriving = Bodies(limit, "received")
        self.unpacking = Bodies(limit, "decompressed")

    def check(self, rate: "ServiceRate", target_s: float | None = None) -> None:
        """Check whether a request would be accepted now, without counting it.

        Args:
            rate: The service rate of the model version.
            target_s: The latency target. None: only the limit counts.

        Raises:
            Overloaded: The limit is reached, or the estimated wait is over the target.
        """
        if self.inside >= self._limit:
            raise Overloaded(f"{self.inside} requests are being answered")
        if target_s is not None and rate.inside >= ALWAYS_ACCEPTED:
            wait_s = rate.wait_s(time.perf_counter())
            if wait_s > target_s:
                raise Overloaded(f"an answer would take {wait_s:.2g} s")

    def enter(self, rate: "ServiceRate", target_s: float | None = None) -> "Admitted":
        """Accept a request whose body is complete, for a ``with`` statement; see `check`.

        Raises:
            Overloaded: The limit is reached, or the estimated wait is over the target.
        """
        self.check(rate, target_s)
        return Admitted(self, rate, time.perf_counter(), target_s)


class ServiceRate:
    """The running predictions of one model version, and how fast it answers."""

    def __init__(self) -> None:
        self.inside = 0
        """The number of running predictions."""
        # Decaying sums: the time in which predictions were running, and the number of answers in it.
        self._busy_s = 0.0
        self._answers = 0.0
        self._last_answer = 0.0
        self._since = 0.0
        """Time of the last answer or failure, or of the first request after an idle time."""

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

    def fail(self, now: float) -> None:
        """Remove a request that was refused or failed. It says nothing about the time of an answer.

        Args:
            now: By `time.perf_counter`.
        """
        self.inside -= 1
        self._since = now

    def leave(self, now: float, entered: float, window_s: float) -> None:
        """Count an answer.

        Args:
            now: By `time.perf_counter`.
            entered: When the request entered.
            window_s: Older answers have a weight of a third and less, except the last `MIN_ANSWERS`.
        """
        self.inside -= 1
        # Not the time since the last request of any kind: those that fail may be many, or none for a long time.
        elapsed = now - max(self._last_answer, entered)
        self._since = self._last_answer = now
        keep = max(math.exp(-elapsed / window_s), 1 - 1 / MIN_ANSWERS)
        self._busy_s = self._busy_s * keep + elapsed
        self._answers = self._answers * keep + 1


class Admitted:
    """A request that was accepted."""

    __slots__ = ("_admission", "_entered", "_rate", "_window_s")

    def __init__(self, admission: Admission, rate: ServiceRate, now: float, target_s: float | None) -> None:
        self._admission = admission
        self._rate = rate
        self._window_s = target_s
        self._entered = now
        admission.inside += 1
        rate.enter(now)

    def __enter__(self) -> None:
        """The request was counted when this object was created."""

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._admission.inside -= 1
        if self._window_s is None:
            self._rate.inside -= 1
        elif error is not None:
            self._rate.fail(time.perf_counter())
        else:
            self._rate.leave(time.perf_counter(), self._entered, self._window_s)
