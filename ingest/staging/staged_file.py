"""A file that Spark can read: under a name of our own, or a plain file on HDFS where it lies.

Spark never sees a user's file name, unless it lies on HDFS and there is nothing in it that Spark would take for more
than a name: brackets and stars are expanded, compression is guessed from an ending, and what starts with an underscore
is hidden.
"""

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ingest.staging.archives import CHUNK_BYTES
from ingest.staging.lines import LineCount, LongLine
from millrace.errors import StorageError
from millrace.storage import LocalFiles, files_of, open_input

_PLAIN_PATH: Final = re.compile(r"hdfs://[\w.:-]+(/[A-Za-z0-9=][\w.=+-]*)+")
_PACKED: Final = (".gz", ".bz2", ".deflate", ".lz4", ".snappy", ".zst", ".zstd", ".lzo", ".xz")
"""Endings by which Hadoop guesses a compression."""


@dataclass(frozen=True)
class StagedFile:
    """One file that Spark can read.

    Attributes:
        uri: Where it lies now, as Spark takes it.
        file: What Spark calls it in its rows: the name, or the whole address.
        name: What the user calls it.
        header: Text of its header line; None without a header.
        lines: What it holds, counted without Spark.
        columns: Its columns in their order, where a header says so.
        long_lines: Lines that were left out.
    """

    uri: str
    file: str
    name: str
    header: str | None
    lines: LineCount
    columns: tuple[str, ...] = ()
    long_lines: tuple[LongLine, ...] = ()


def make_readable(path: str, target: str) -> str:
    """Make a plain file readable for every executor under a name that Spark takes as it is; returns where."""
    if _PLAIN_PATH.fullmatch(path) and not path.endswith(_PACKED):
        return path
    files = files_of(target)
    if isinstance(files, LocalFiles) and isinstance(files_of(path), LocalFiles):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).symlink_to(Path(path).absolute())
    else:
        with copying(path, target), open_input(path) as source, files.open_output(target) as copy:
            shutil.copyfileobj(source, copy, CHUNK_BYTES)
    return uri_of(target)


def uri_of(path: str) -> str:
    """A staged file's path as Spark takes it."""
    return path if "://" in path else f"file://{path}"  # Spark takes what is in it as it stands


def key_of(path: str, uri: str) -> str:
    """What Spark's rows say of a file: short, unless files keep their own names, which may be alike."""
    return uri.replace("file://", "file:") if path.startswith("hdfs://") else uri.rpartition("/")[2]


@contextlib.contextmanager
def copying(name: str, target: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{name} cannot be unpacked: {error.strerror or error}{_free(target)}") from error


def _free(target: str) -> str:
    if "://" in target:
        return ""
    folder = Path(target).parent
    return f" ({shutil.disk_usage(folder).free} bytes free in {folder})"
