"""Files that Spark can read: under a generated name in the staging folder, or directly on HDFS if the path is safe.

Spark interprets file names: it expands brackets and stars, guesses a compression from the ending, and hides names that
start with an underscore. So it gets a user's own file name only for files on HDFS whose path has none of these.
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
from millrace.retry import NO_RETRY, RetryPolicy
from millrace.storage import LocalFiles, files_of, open_input, uri_of

_PLAIN_PATH: Final = re.compile(r"hdfs://[\w.:-]+(/[A-Za-z0-9=][\w.=+-]*)+")
_PACKED: Final = (".gz", ".bz2", ".deflate", ".lz4", ".snappy", ".zst", ".zstd", ".lzo", ".xz")
"""Endings from which Hadoop guesses a compression."""


@dataclass(frozen=True)
class StagedFile:
    """One file that Spark can read.

    Attributes:
        uri: Address of the file for Spark.
        file: Name of the file in Spark's rows: the file name, or the whole address.
        name: Name of the source file, for messages.
        header: Text of the header line; None if there is none.
        lines: The counts of its lines, made without Spark.
        columns: Its columns in order, if it has column names.
        long_lines: Lines that were left out.
    """

    uri: str
    file: str
    name: str
    header: str | None
    lines: LineCount
    columns: tuple[str, ...] = ()
    long_lines: tuple[LongLine, ...] = ()


def make_readable(path: str, target: str, retry: RetryPolicy = NO_RETRY) -> str:
    """Make an uncompressed file readable for every executor, by link or copy if needed, and return its address."""
    if _PLAIN_PATH.fullmatch(path) and not path.endswith(_PACKED):
        return path
    files = files_of(target, retry)
    if isinstance(files, LocalFiles) and isinstance(files_of(path), LocalFiles):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).symlink_to(Path(path).absolute())
    else:
        with copying(path, target), open_input(path, retry) as source, files.open_output(target) as copy:
            shutil.copyfileobj(source, copy, CHUNK_BYTES)
    return uri_of(target)


def key_of(path: str, uri: str) -> str:
    """The name of a file in Spark's rows: the file name, or for HDFS the whole address, as file names may be equal."""
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
