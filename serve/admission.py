"""How many predictions the server takes at a time: as many as it can answer within a latency.

By Little's law a request waits for about as long as those in the server take, so a bound on their number bounds the
latency. What the right number is follows from what is seen: it falls by a fifth when an answer took longer than wanted,
at most once in that time, and grows by one in the time that all of them take when they are punctual (additive increase,
multiplicative decrease, as TCP does it).
"""

import time
from typing import Final

from serve.errors import Overloaded

LEAST: Final = 4
"""So many are always let in."""
FALL: Final = 0.8


class Admission:
    """Counts who is in, and lets no more in than allowed.

    Args:
        limit: How many at most.
        target_s: How long an answer may take; without it the limit stays.
    """

    def __init__(self, limit: int, target_s: float | None = None) -> None:
        self._most = limit
        self._target_s = target_s
        self._limit = float(limit)
        self._inside = 0
        self._fell = 0.0

    @property
    def limit(self) -> int:
        """How many are let in now."""
        return int(self._limit)

    def enter(self) -> "Admitted":
        """A request, for a ``with`` statement.

        Raises:
            Overloaded: There are as many as are taken.
        """
        if self._inside >= self._limit:
            raise Overloaded(f"{self._inside} requests are being answered")
        self._inside += 1
        return Admitted(self)

    def leave(self, seconds: float) -> None:
        """A request has been answered.

        Args:
            seconds: What that took.
        """
        crowd, self._inside = self._inside, self._inside - 1
        if self._target_s is None:
            return
        if seconds > self._target_s:
            now = time.perf_counter()
            if now - self._fell >= self._target_s:
                self._fell = now
                # From those who were there: a limit that nobody reaches says nothing.
                self._limit = max(float(min(LEAST, self._most)), FALL * min(self._limit, crowd))
        elif crowd >= self._limit / 2:
            self._limit = min(float(self._most), self._limit + 1 / self._limit)


class Admitted:
    """A request that was let in."""

    __slots__ = ("_admission", "_started")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._started = time.perf_counter()

    def __enter__(self) -> None:
        """It is inside."""

    def __exit__(self, *_: object) -> None:
        self._admission.leave(time.perf_counter() - self._started)
