"""An append-only log of small records in a folder: of several writers of one number exactly one wins.

What Delta's log does not cover, such as aliases and leases, is built on `cas_append`. It assumes only what both file
systems give: a rename that never replaces, and bytes that survive a crash once a file is closed. Wall clocks order
nothing.
"""

import contextlib
import uuid
from dataclasses import dataclass
from typing import Final

from millrace.failpoints import fail_here
from millrace.retry import RetryPolicy
from millrace.storage.filesystems.files import mapped_errors
from millrace.storage.store import Store

WAIT_S: Final = 600.0
"""How long an append goes on trying while the storage is away: a NameNode restarts in minutes."""
_DIGITS: Final = 20
_NEVER: Final = (PermissionError, IsADirectoryError, NotADirectoryError)
"""Errors that no waiting mends."""


@dataclass(frozen=True)
class Won:
    """The record is in the log under this number."""

    number: int


@dataclass(frozen=True)
class Lost:
    """Another writer's record is in the log under this number.

    Attributes:
        by: What it says.
    """

    number: int
    by: bytes


def cas_append(
    store: Store, folder: tuple[str, ...], number: int, data: bytes, *, wait_s: float = WAIT_S
) -> Won | Lost:
    """Put a record into a log under a number, unless there is one.

    An error in the middle means that nobody knows what happened: the log is read back before anything is tried again,
    so that a rename whose reply was lost counts as won, and is never done twice.

    Args:
        store: Where the log is.
        folder: Its folder.
        number: Of the record, from 0.
        data: What the record says; small.
        wait_s: How long to go on while the storage fails.

    Raises:
        ConfigError: No permission.
        StorageError: The storage failed for longer than `wait_s`; whether the record is there is not known.
    """
    token = uuid.uuid4().hex.encode()
    target = store.uri(*folder, name_of(number))
    staged: list[str] = []
    retry = RetryPolicy(wait_s, first_pause_s=0.1, is_temporary=_is_worth_a_retry)
    with mapped_errors("record", "/".join((*folder, name_of(number)))):
        try:
            outcome: Won | Lost = retry.call(_try, store, target, number, token + b"\n" + data, staged)
        finally:
            for path in staged:
                with contextlib.suppress(OSError):  # a file that no reader lists does no harm
                    store.files.remove(path)
    return outcome


def _is_worth_a_retry(error: BaseException) -> bool:
    """Nearly every error is: the next try reads the log first, so that nothing is written twice."""
    return isinstance(error, OSError) and not isinstance(error, _NEVER)


def _try(store: Store, target: str, number: int, record: bytes, staged: list[str]) -> Won | Lost:
    files = store.files
    if files.exists(target):
        return _verdict(store, target, number, record)
    path = f"{target.rpartition('/')[0]}/.tmp-{uuid.uuid4().hex}"
    staged.append(path)
    with files.open_output(path) as file:
        file.write(record)
    fail_here("append.before_rename")
    try:
        files.rename_new(path, target)
    except (FileExistsError, FileNotFoundError):
        # Somebody's record is there; perhaps mine, by a rename whose reply was lost and which was sent again.
        if not files.exists(target):
            raise
        return _verdict(store, target, number, record)
    fail_here("append.after_rename")
    return Won(number)


def _verdict(store: Store, target: str, number: int, record: bytes) -> Won | Lost:
    with store.files.open_input(target) as file:
        found = file.read()
    return Won(number) if found == record else Lost(number, _said(found))


def _said(record: bytes) -> bytes:
    return record.partition(b"\n")[2]


def name_of(number: int) -> str:
    """File name of a record."""
    if not 0 <= number < 10**_DIGITS:
        raise ValueError(f"{number} is no record number")
    return f"{number:0{_DIGITS}d}"


def read_record(store: Store, folder: tuple[str, ...], number: int) -> bytes:
    """What a record says.

    Raises:
        ArtifactNotFound: There is none of this number.
    """
    return _said(store.read(*folder, name_of(number)))


def record_numbers(store: Store, folder: tuple[str, ...]) -> list[int]:
    """Numbers of all records in a log, ascending."""
    return [int(name) for name in store.names(*folder) if len(name) == _DIGITS and name.isdecimal()]
