"""What an exit code means for a tick: settled, or tried again, and when."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from millrace.config.sections.schedule import Entry, Retries
from pipelines.jobs.exits import BUG, OK
from pipelines.schedule.log import Ended, Outcome

JITTER: Final = 0.25
"""Greatest part by which chance makes a wait longer: less than its growth, so that waits still grow."""
BUG_ATTEMPTS: Final = 2
"""What looks like a bug may have been the cluster: seen twice, it is one."""
_INPUT_MISSING: Final = 4
_FINAL: Final[dict[int, Outcome]] = {2: "failed", 3: "rejected", 5: "refused", 78: "failed"}
"""The same again would end the same: usage, data, a gate or another writer, configuration."""


@dataclass(frozen=True)
class Verdict:
    """How an attempt ended.

    Attributes:
        wait_s: Until the next attempt, where it does not settle the tick.
    """

    outcome: Outcome
    settles: bool
    wait_s: float = 0.0


def judge(
    code: int, ends: Sequence[Ended], entry: Entry, now: datetime, chance: Callable[[], float] = random.random
) -> Verdict:
    """What comes of an exit code, any but those listed being worth a retry.

    Args:
        code: Of the stage's process; negative where a signal ended it.
        ends: How earlier attempts at the stage ended, in order.
        entry: Says how often and how long.
        now: When it ended.
        chance: A number from 0 to 1.
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
    """Seconds to wait after one more failure than there were before."""
    steady = min(retries.max_wait_s, retries.wait_s * 2.0 ** min(before, 60))
    return round(steady * (1 + JITTER * chance), 3)
