"""An append-only log of small records in a folder: if several writers use one number, exactly one succeeds.

What Delta's log does not cover, such as the log of a schedule, is built on `cas_append`. It needs two guarantees of a
file system: a rename never replaces a file, and the bytes of a closed file survive a crash. It does not depend on
clocks.
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
"""How long an append retries while the storage is unavailable: a NameNode restarts in minutes."""
_DIGITS: Final = 20
_NEVER: Final = (PermissionError, IsADirectoryError, NotADirectoryError)
"""Errors that a retry cannot fix."""


@dataclass(frozen=True)
class Won:
    """The record is in the log under this number."""

    number: int


@dataclass(frozen=True)
class Lost:
    """Another writer's record is in the log under this number.

    Attributes:
        by: Content of that record.
    """

    number: int
    by: bytes


def cas_append(
    store: Store, folder: tuple[str, ...], number: int, data: bytes, *, wait_s: float = WAIT_S
) -> Won | Lost:
    """Add a record to a log under a number, unless the number is taken.

    After an error it is not known whether the record was added. So each retry reads the log first: a rename whose reply
    was lost counts as won, and is never repeated.

    Args:
        store: The store of the log.
        folder: The log's folder.
        number: Number of the record, from 0.
        data: Content of the record; small.
        wait_s: How long to retry while the storage fails.

    Raises:
        ConfigError: No permission.
        StorageError: The storage failed for longer than `wait_s`; whether the record is there is not known.
    """
    token = uuid.uuid4().hex.encode()
    target = store.uri(*folder, name_of(number))
    staged: list[str] = []
    retry = RetryPolicy(wait_s, first_pause_s=0.1, is_temporary=_is_worth_a_retry, log_after_s=5.0)
    with mapped_errors("record", "/".join((*folder, name_of(number)))):
        try:
            outcome: Won | Lost = retry.call(_try, store, target, number, token + b"\n" + data, staged)
        finally:
            for path in staged:
                with contextlib.suppress(OSError):  # no reader lists such a file
                    store.files.remove(path)
    return outcome


def _is_worth_a_retry(error: BaseException) -> bool:
    """Nearly every error is retried: the next try reads the log first, so nothing is written twice."""
    return isinstance(error, OSError) and not isinstance(error, _NEVER)


def _try(store: Store, target: str, number: int, record: bytes, staged: list[str]) -> Won | Lost:
    files = store.files
    if files.exists(target):
        return _compare(store, target, number, record)
    path = f"{target.rpartition('/')[0]}/.tmp-{uuid.uuid4().hex}"
    staged.append(path)
    with files.open_output(path) as file:
        file.write(record)
    fail_here("append.before_rename")
    try:
        files.rename_new(path, target)
    except (FileExistsError, FileNotFoundError):
        # There is a record. It may be this one: its rename succeeded, the reply was lost, and the client sent it again.
        if not files.exists(target):
            raise
        return _compare(store, target, number, record)
    fail_here("append.after_rename")
    return Won(number)


def _compare(store: Store, target: str, number: int, record: bytes) -> Won | Lost:
    with store.files.open_input(target) as file:
        found = file.read()
    return Won(number) if found == record else Lost(number, _content(found))


def _content(record: bytes) -> bytes:
    return record.partition(b"\n")[2]


def name_of(number: int) -> str:
    """Return the file name of a record."""
    if not 0 <= number < 10**_DIGITS:
        raise ValueError(f"{number} is not a record number")
    return f"{number:0{_DIGITS}d}"


def read_record(store: Store, folder: tuple[str, ...], number: int) -> bytes:
    """Return the content of a record.

    Raises:
        ArtifactNotFound: There is no record with this number.
    """
    return _content(store.read(*folder, name_of(number)))


def record_numbers(store: Store, folder: tuple[str, ...]) -> list[int]:
    """Return the numbers of all records in a log, ascending."""
    return [int(name) for name in store.names(*folder) if len(name) == _DIGITS and name.isdecimal()]
