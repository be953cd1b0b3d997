"""Decides by exit code whether a tick is settled or retried, and when."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from millrace.config.sections.schedule import Entry, Retries
from pipelines.jobs.exits import BUG, OK
from pipelines.schedule.log import Ended, Outcome

JITTER: Final = 0.25
"""Largest random increase of a wait, as a share; smaller than the growth, so that waits still grow."""
BUG_ATTEMPTS: Final = 2
"""The cluster may have caused what looks like a bug; after this many attempts it is one."""
_INPUT_MISSING: Final = 4
_FINAL: Final[dict[int, Outcome]] = {2: "failed", 3: "rejected", 5: "refused", 78: "failed"}
"""Exit codes that a retry cannot change: usage, data, a gate or another writer, configuration."""


@dataclass(frozen=True)
class Verdict:
    """How an attempt ended.

    Attributes:
        wait_s: Seconds until the next attempt, if the tick is not settled.
    """

    outcome: Outcome
    settles: bool
    wait_s: float = 0.0


def judge(
    code: int, ends: Sequence[Ended], entry: Entry, now: datetime, chance: Callable[[], float] = random.random
) -> Verdict:
    """Decide what follows from an exit code. Every code that is not listed above is retried.

    Args:
        code: Exit code of the stage's process; negative if a signal ended it.
        ends: How earlier attempts at the stage ended, in order.
        entry: Limits the number of attempts and the waits.
        now: When it ended.
        chance: Returns a random number from 0 to 1.
    """
    if code == OK:
        return Verdict("done", settles=False)
    if code in _FINAL:
        return Verdict(_FINAL[code], settles=True)
    if code == _INPUT_MISSING:
        waits = [end for end in ends if end.outcome == "waiting"]
        if waits and (now - waits[0].at).total_seconds() >= entry.input_wait_s:
            return Verdict("input_missing", settles=True)
        return Verdict("waiting", settles=False, wait_s=backoff(len(waits), entry.retries, chance()))
    failed = [end for end in ends if end.outcome == "retry"]
    most = min(entry.retries.max_attempts, BUG_ATTEMPTS) if code == BUG else entry.retries.max_attempts
    if len(failed) + 1 >= most:
        return Verdict("failed", settles=True)
    return Verdict("retry", settles=False, wait_s=backoff(len(failed), entry.retries, chance()))


def backoff(before: int, retries: Retries, chance: float) -> float:
    """Return the seconds to wait after a failure.

    Args:
        before: Number of earlier failures.
        retries: First and longest wait.
        chance: A random number from 0 to 1.
    """
    steady = min(retries.max_wait_s, retries.wait_s * 2.0 ** min(before, 60))
    return round(steady * (1 + JITTER * chance), 3)
