"""Where a transfer is staged: found again by the same command, and never worked in by two at once."""

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
"""How names of staged files and folders begin; no reader of a store lists them."""


def staging_name(kind: str, name: str) -> str:
    """Where a transfer to this name is staged: the same for the same command, so that it goes on where it was."""
    return f"{PREFIX}{kind}-{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:16]}"


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep other processes out of a file or folder that is there, until the block or this process ends.

    Raises:
        Refused: Another one is at work in it.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = os.path.samestat(os.stat(handle), path.stat())
        except (BlockingIOError, FileNotFoundError):
            mine = False  # or its holder finished just now, and moved it to where it goes
        if not mine:
            raise Refused(f"{str(path)!r}: the same transfer is under way", hint="run it again when that has ended")
        yield
    finally:
        os.close(handle)


def take(hdfs: WebHdfs, parent: str, name: str) -> str:
    """A staging folder in HDFS under a name of this transfer's own, with what an interrupted one left.

    HDFS knows no lock that ends with its holder. So a transfer is never waited for: its folder is renamed, after
    which no step of it succeeds that would move or change what is here.

    Args:
        hdfs: Where.
        parent: Folder that holds the target, made if it is not there.
        name: What `staging_name` gives.
    """
    own = f"{parent}/{name}.{uuid.uuid4().hex[:8]}"
    for left in sorted(_left(hdfs, parent, name), reverse=True):
        try:
            hdfs.rename_new(f"{parent}/{left[1]}", own)
        except (Interrupted, InputMissing):
            continue  # another one took it
        return own
    hdfs.make_folder(own)
    return own


def clear(hdfs: WebHdfs, parent: str, name: str) -> None:
    """Remove what transfers to a target left: it is there."""
    for _, left in _left(hdfs, parent, name):
        hdfs.remove(f"{parent}/{left}")


def _left(hdfs: WebHdfs, parent: str, name: str) -> list[tuple[int, str]]:
    """Staging folders with their time of change."""
    try:
        found = hdfs.names(parent)
    except InputMissing:
        return []
    return [(status.modified, each) for each, status in found.items() if each.startswith(f"{name}.")]
