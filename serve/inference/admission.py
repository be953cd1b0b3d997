"""Which predictions are let in: as many as the server takes, of each model as many as it answers in time.

What a newcomer would wait for a model follows from how many are before it and from how fast they leave, so nothing has
to be learnt anew when a load changes: who would be late is refused before its body is read, and when the crowd has gone
everybody is let in at once.
"""

import math
import time
from typing import Final

from serve.errors import Overloaded

LEAST: Final = 2
"""So many of a model are always let in: else one that is slower than the target would never answer."""
FEW: Final = 16
"""Answers that tell a pace well enough, however long ago they were."""


class Admission:
    """Counts who is in, and lets no more in than there is room for.

    Args:
        limit: How many at most, of all models.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.inside = 0
        """How many are in."""

    def enter(self, crowd: "ServiceRate", target_s: float | None = None) -> "Admitted":
        """A request, for a ``with`` statement.

        Args:
            crowd: Of the model that it is for.
            target_s: How long the answer may take; without it the limit alone counts.

        Raises:
            Overloaded: There are as many as are taken, or the answer would take longer.
        """
        if self.inside >= self._limit:
            raise Overloaded(f"{self.inside} requests are being answered")
        now = time.perf_counter()
        if target_s is not None and crowd.inside >= LEAST:
            wait_s = crowd.wait_s(now)
            if wait_s > target_s:
                raise Overloaded(f"an answer would take {wait_s:.2g} s")
        return Admitted(self, crowd, now, target_s)


class ServiceRate:
    """Who is on the way to the answers of one model, and how fast they leave."""

    def __init__(self) -> None:
        self.inside = 0
        """How many are in."""
        # Of the time in which anybody was in, and of those who left: sums in which what is long ago counts less.
        self._busy_s = 0.0
        self._left = 0.0
        self._since = 0.0

    def wait_s(self, now: float) -> float:
        """What one more would wait by `time.perf_counter`; 0 as long as that cannot be known."""
        if not self._left:
            return 0.0
        # At least as long as nobody has left: who stands still is noticed before it answers.
        return max((self.inside + 1) * self._busy_s / self._left, now - self._since)

    def enter(self, now: float) -> None:
        """One more."""
        if not self.inside:
            self._since = now  # while nobody was in, nobody could leave
        self.inside += 1

    def leave(self, now: float, window_s: float) -> None:
        """One is answered.

        Args:
            now: By `time.perf_counter`.
            window_s: What was longer ago counts a third and less, but for the last few answers.
        """
        self.inside -= 1
        gone, self._since = now - self._since, now
        keep = max(math.exp(-gone / window_s), 1 - 1 / FEW)
        self._busy_s = self._busy_s * keep + gone
        self._left = self._left * keep + 1


class Admitted:
    """A request that was let in."""

    __slots__ = ("_admission", "_crowd", "_window_s")

    def __init__(self, admission: Admission, crowd: ServiceRate, now: float, target_s: float | None) -> None:
        self._admission = admission
        self._crowd = crowd
        self._window_s = target_s
        admission.inside += 1
        crowd.enter(now)

    def __enter__(self) -> None:
        """It is inside."""

    def __exit__(self, *_: object) -> None:
        self._admission.inside -= 1
        if self._window_s is None:
            self._crowd.inside -= 1
        else:
            self._crowd.leave(time.perf_counter(), self._window_s)
