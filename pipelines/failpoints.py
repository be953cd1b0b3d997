"""Named places where a test can make a process die, raise or hang.

``MILLRACE_FAIL="train.before_publish=kill9"`` (several separated by commas) arms them. Unarmed, a place costs one
dictionary look-up.
"""

import os
import signal
import time
from typing import Final

FAILPOINTS: Final = {
    "ingest.before_rejects": "the clean rows are checked, nothing is written yet",
    "ingest.before_commit": "rejects are written, the clean table's commit is not",
    "train.before_epoch": "in every rank, before an epoch starts",
    "train.before_batch": "in every rank, before a batch",
    "train.before_export": "in rank 0, the fit is done, nothing is exported yet",
    "train.before_publish": "the model is replayed and gated, not yet visible in the store",
    "publish.before_rename": "every file of the version is staged, none is visible",
    "score.before_commit": "rows are scored, the predictions table's commit is not",
}
"""Every name that may be armed, and what holds at that place."""

ENVIRONMENT: Final = "MILLRACE_FAIL"


class FailpointFired(RuntimeError):
    """Raised by a failpoint armed with ``raise``."""


def armed(environment: str) -> dict[str, str]:
    """Parse ``name=action,name=action``.

    Raises:
        ValueError: A name or an action is unknown, so that a misspelt fault test cannot pass unnoticed.
    """
    points = {part.partition("=")[0]: part.partition("=")[2] for part in environment.split(",") if part}
    for name, action in points.items():
        if name.partition("@")[0] not in FAILPOINTS or action not in ("kill9", "raise", "hang"):
            raise ValueError(f"{ENVIRONMENT}: unknown failpoint or action {name}={action}")
    return points


def fail_here(name: str, rank: int | None = None) -> None:
    """Do what ``MILLRACE_FAIL`` asks for at this place, if anything.

    Args:
        name: One of `FAILPOINTS`.
        rank: The caller's rank; ``name@1=raise`` arms a place in rank 1 alone.
    """
    environment = os.environ.get(ENVIRONMENT)
    if not environment:
        return
    points = armed(environment)
    action = points.get(name) or points.get(f"{name}@{rank}")
    if action == "kill9":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "raise":
        raise FailpointFired(name)
    while action == "hang":
        time.sleep(1)
