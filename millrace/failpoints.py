"""Failpoints: named points in the code where a test can make a process die, stop, raise or hang.

``MILLRACE_FAIL="train.before_publish=kill9"`` (several separated by commas) arms them. ``name@1=raise`` arms a point in
rank 1 alone; ``name=once:kill9`` fires once in all processes together. ``MILLRACE_FAIL_LOG`` names a file that gets a
line for each firing. An unarmed point costs one dictionary look-up.
"""

import errno
import fcntl
import os
import signal
import time
from pathlib import Path
from typing import Final

FAILPOINTS: Final = {
    "ingest.before_staging": "the sources are found and their digests known, nothing is copied",
    "ingest.before_reading": "the sources are staged, Spark has read none of them",
    "ingest.before_checks": "the rows are cleaned and cached, neither guards nor expectations have checked them",
    "ingest.before_rejects": "the rows are read, nothing is written yet",
    "ingest.before_commit": "rejects are written, the clean table's commit is not",
    "ingest.after_commit": "the clean table has its new version, it is not reported yet",
    "train.before_measure": "the table version is pinned, nothing is computed",
    "train.before_ranks": "the train split is measured, no rank has started",
    "train.before_epoch": "in every rank, before an epoch starts",
    "train.before_batch": "in every rank, before a batch",
    "train.before_export": "in every rank, the fit is done, nothing is exported yet",
    "train.after_export": "in rank 0, the model is exported to the run's folder, the driver does not know yet",
    "train.before_gates": "the ranks have ended, the gates have not checked the model",
    "train.before_publish": "the model is replayed and gated, not yet visible in the store",
    "train.after_publish": "the version is visible, the export is still in the run's folder",
    "publish.before_upload": "a version's number is chosen, none of its files is staged",
    "publish.before_rename": "every file of the version is staged, none is visible",
    "publish.after_rename": "the version is visible, its publisher does not know yet",
    "put.before_rename": "a file is staged, readers see the old one or none",
    "append.before_rename": "a record is staged, it is not in the log",
    "append.after_rename": "the record is in the log, its writer does not know yet",
    "cache.before_rename": "a model is copied to this machine and checked, not yet in the cache",
    "score.before_tasks": "table and model are pinned, no row is scored",
    "score.before_batch": "in a worker, before a batch is scored",
    "score.before_close": "in a worker, the rows are written, the file is not closed",
    "score.after_file": "in a worker, the file is complete, the driver does not know yet",
    "transfer.part_done": "a block of a file is staged and verified",
    "transfer.before_rename": "all of a transfer is staged and verified, nothing is visible yet",
    "score.before_commit": "rows are scored, the predictions table's commit is not",
    "score.after_commit": "the predictions table has its new version, it is not reported yet",
    "schedule.before_start": "the start of a run is in the log, its process is not launched yet",
    "schedule.after_start": "the process of a run is launched",
    "schedule.before_outcome": "a run has ended, its outcome is not in the log yet",
    "run.before_record": "the stage has succeeded, its record is not saved",
}
"""Every failpoint, and the state of the run at that point."""

ENVIRONMENT: Final = "MILLRACE_FAIL"
LOG: Final = "MILLRACE_FAIL_LOG"
_ONCE: Final = "once:"


class FailpointFired(RuntimeError):
    """Raised by a failpoint armed with ``raise``."""


def armed(environment: str) -> dict[str, str]:
    """Parse ``name=action,name=action``.

    Raises:
        ValueError: A name or an action is unknown, so that a misspelt test cannot pass.
    """
    points = {part.partition("=")[0]: part.partition("=")[2] for part in environment.split(",") if part}
    for name, action in points.items():
        if name.partition("@")[0] not in FAILPOINTS or action.removeprefix(_ONCE) not in _ACTIONS:
            raise ValueError(f"{ENVIRONMENT}: unknown failpoint or action {name}={action}")
        if action.startswith(_ONCE) and LOG not in os.environ:
            raise ValueError(f"{ENVIRONMENT}: {name}={action} needs {LOG}, the log of what has fired")
    return points


def fail_here(name: str, rank: int | None = None) -> None:
    """Fire this failpoint if ``MILLRACE_FAIL`` arms it.

    Args:
        name: One of `FAILPOINTS`.
        rank: The caller's rank.
    """
    environment = os.environ.get(ENVIRONMENT)
    if not environment:
        return
    points = armed(environment)
    action = points.get(name) or points.get(f"{name}@{rank}")
    if action is None:
        return
    if _note(name, action):
        _ACTIONS[action.removeprefix(_ONCE)](name)


def fired(log: Path) -> list[tuple[str, int]]:
    """Return name and process of every firing in a log, in order."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [(name, int(pid)) for name, _, pid in (line.partition(" ") for line in lines)]


def _note(name: str, action: str) -> bool:
    """Log a firing; False if it may fire only once and already has."""
    path = os.environ.get(LOG)
    if not path:
        return True
    with Path(path).open("a+") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        log.seek(0)
        if action.startswith(_ONCE) and any(line.startswith(f"{name} ") for line in log):
            return False
        log.write(f"{name} {os.getpid()}\n")
    return True


def _kill9(_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop(_: str) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _raise(name: str) -> None:
    raise FailpointFired(name)


def _hang(_: str) -> None:
    while True:
        time.sleep(1)


def _enospc(name: str) -> None:
    raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} (failpoint {name})")


def _drop_reply(name: str) -> None:
    raise ConnectionResetError(errno.ECONNRESET, f"{os.strerror(errno.ECONNRESET)} (failpoint {name})")


def _note_only(_: str) -> None:
    """Do nothing; the firing is logged."""


_ACTIONS: Final = {
    "kill9": _kill9,
    "stop": _stop,
    "raise": _raise,
    "hang": _hang,
    "enospc": _enospc,
    "drop_reply": _drop_reply,
    "note": _note_only,
}
