"""Staging of transfers: the same command finds its staged files again, and two transfers never share them."""

import contextlib
import fcntl
import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from millrace.errors import InputMissing, Refused
from pipelines.transfer.errors import Interrupted
from pipelines.transfer.webhdfs import WebHdfs

PREFIX: Final = ".millrace-"
"""Start of the names of staged files and folders, which no reader of a store lists."""


def staging_name(kind: str, name: str) -> str:
    """Return the staging name of a transfer to this name; it never changes, so the same command can resume."""
    return f"{PREFIX}{kind}-{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:16]}"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock an existing file or folder against other processes until the block or this process ends.

    Raises:
        Refused: Another process has the lock.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_locked = os.path.samestat(os.stat(handle), path.stat())
        except (BlockingIOError, FileNotFoundError):
            is_locked = False  # another process has it, or has just moved it to its target
        if not is_locked:
            raise Refused(
                f"{str(path)!r}: the same transfer is already running",
                hint="wait until it has ended, then run the command again",
            )
        yield
    finally:
        os.close(handle)


def take(hdfs: WebHdfs, parent: str, name: str) -> str:
    """Take over the staging folder of an interrupted transfer under a new name, or create one.

    HDFS has no lock that ends with its holder. So this function does not wait for another transfer. It renames the
    folder; after that, no step of the other transfer can move or change its content.

    Args:
        hdfs: The file system.
        parent: The target's parent folder, created if it is missing.
        name: The result of `staging_name`.
    """
    own = f"{parent}/{name}.{uuid.uuid4().hex[:8]}"
    for found in sorted(_staging_folders(hdfs, parent, name), reverse=True):
        try:
            hdfs.rename_new(f"{parent}/{found[1]}", own)
        except (Interrupted, InputMissing):
            continue  # another transfer took it over
        return own
    hdfs.make_folder(own)
    return own


def clear(hdfs: WebHdfs, parent: str, name: str) -> None:
    """Remove the staging folders of a target, once the transfer is complete."""
    for _, folder in _staging_folders(hdfs, parent, name):
        hdfs.remove(f"{parent}/{folder}")


def _staging_folders(hdfs: WebHdfs, parent: str, name: str) -> list[tuple[int, str]]:
    """Return staging folders with their modification times."""
    try:
        found = hdfs.names(parent)
    except InputMissing:
        return []
    return [(status.modified, each) for each, status in found.items() if each.startswith(f"{name}.")]
