"""Brings source files to where Spark can read them: unpacked, in UTF-8, under names of our own.

Spark never sees a user's file name, unless it lies on HDFS and there is nothing in it that Spark would take for more
than a name: brackets and stars are expanded, compression is guessed from an ending, and what starts with an underscore
is hidden.
"""

import codecs
import contextlib
import csv
import io
import logging
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ingest.archives import CHUNK_BYTES, Part, find_parts
from ingest.errors import FileUnreadable, HeaderMismatch
from ingest.lines import BLANK, LineCount, LineCounter, LongLine, without_long_lines
from ingest.shape import Shape
from pipelines.config.options import ReaderOptions
from pipelines.errors import StorageError, shorten
from pipelines.storage import LocalFiles, Store, files_of, mapped_errors, open_input

logger = logging.getLogger(__name__)

STAGING: Final = ".staging"
STALE_S: Final = 24 * 3600
"""A staging folder older than this was left by a run that was killed."""
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


@contextlib.contextmanager
def staging_folder(store: Store, run_id: str) -> Iterator[str]:
    """A folder beside the tables, where every executor can read it; removed at the end, whatever happens."""
    root = store.uri(STAGING)
    folder = f"{root}/{run_id}"
    with mapped_errors("folder", STAGING):
        for old in store.files.names(root):
            if time.time() - store.files.modified(f"{root}/{old}") > STALE_S:
                store.files.remove(f"{root}/{old}")
    try:
        yield folder
    finally:
        store.remove(STAGING, run_id)


def stage(path: str, prefix: str, shape: Shape, options: ReaderOptions) -> list[StagedFile]:
    """Check the header of every text in a source's file, count its lines and make it readable.

    Args:
        path: The source's file.
        prefix: Begin of the staged files' paths.
        shape: The declared columns.
        options: How the text is written.

    Raises:
        HeaderMismatch: A header is not the declared columns.
        FileUnreadable: A damaged archive, or bytes that are not text.
        StorageError: The disk is full.
    """
    return [_stage_part(part, f"{prefix}-{number:05d}", shape, options) for number, part in enumerate(find_parts(path))]


def _stage_part(part: Part, target: str, shape: Shape, options: ReaderOptions) -> StagedFile:
    header, columns = _check_header(part, shape, options) if options.header else (None, ())
    counter = LineCounter(header, options.quote)
    if part.packing or not options.is_utf8:
        uri = _copy(part, target, counter, options)
    else:
        for chunk in part.chunks():
            counter.feed(chunk)
        uri = ""
    lines, long_lines = counter.finish(), list[LongLine]()
    if lines.too_long:
        if options.multi_line:
            raise FileUnreadable(part.name, reason="a line is too long for a text whose values may span lines")
        if uri:
            files_of(target).remove(target)
        counter = LineCounter(header, options.quote)
        uri = _copy(part, target, counter, options, long_lines)
        lines = counter.finish()
    uri = uri or place(part.path, target)
    return StagedFile(uri, key_of(part.path, uri), part.name, header, lines, columns, tuple(long_lines))


def place(path: str, target: str) -> str:
    """Make a plain file readable for every executor under a name that Spark takes as it is; returns where."""
    if _PLAIN_PATH.fullmatch(path) and not path.endswith(_PACKED):
        return path
    files = files_of(target)
    if isinstance(files, LocalFiles) and isinstance(files_of(path), LocalFiles):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).symlink_to(Path(path).absolute())
    else:
        with _copying(path, target), open_input(path) as source, files.open_output(target) as copy:
            shutil.copyfileobj(source, copy, CHUNK_BYTES)
    return uri_of(target)


def uri_of(path: str) -> str:
    """A staged file's path as Spark takes it."""
    return path if "://" in path else f"file://{path}"  # Spark takes what is in it as it stands


def key_of(path: str, uri: str) -> str:
    """What Spark's rows say of a file: short, unless files keep their own names, which may be alike."""
    return uri.replace("file://", "file:") if path.startswith("hdfs://") else uri.rpartition("/")[2]


def _copy(
    part: Part, target: str, counter: LineCounter, options: ReaderOptions, long_lines: list[LongLine] | None = None
) -> str:
    chunks = _as_utf8(part, options)
    if long_lines is not None:
        chunks = without_long_lines(chunks, long_lines)
    with _copying(part.name, target), files_of(target).open_output(target) as file:
        for chunk in chunks:
            counter.feed(chunk)
            file.write(chunk)
    return uri_of(target)


@contextlib.contextmanager
def _copying(name: str, target: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{name} cannot be unpacked: {error.strerror or error}{_free(target)}") from error


def _free(target: str) -> str:
    if "://" in target:
        return ""
    folder = Path(target).parent
    return f" ({shutil.disk_usage(folder).free} bytes free in {folder})"


def _as_utf8(part: Part, options: ReaderOptions) -> Iterator[bytes]:
    if options.is_utf8:
        yield from part.chunks()
        return
    decoder = codecs.getincrementaldecoder(options.encoding)()
    try:
        for chunk in part.chunks():
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise FileUnreadable(part.name, reason=f"not {options.encoding}: {error}") from error


def _check_header(part: Part, shape: Shape, options: ReaderOptions) -> tuple[str | None, tuple[str, ...]]:
    """Compare the first line that is not blank with the columns.

    Returns:
        The line and its columns; the line is None where the file holds none.
    """
    with part.open() as stream:
        text = io.TextIOWrapper(io.BytesIO(stream.read(CHUNK_BYTES)), options.encoding, errors="replace", newline=None)
        lines = [line.rstrip("\n") for line in text]
    lines = [line.removeprefix("\ufeff") if n == 0 else line for n, line in enumerate(lines)]
    first = next((n for n, line in enumerate(lines) if line.strip(BLANK.decode())), None)
    if first is None:
        return None, ()
    found = _fields(part, lines[first:] if options.multi_line else lines[first : first + 1], options)
    layout = shape.layout(found)
    if layout is None:
        raise HeaderMismatch(part.name, expected=list(shape.columns), found=found)
    return lines[first], layout


def _fields(part: Part, lines: list[str], options: ReaderOptions) -> list[str]:
    reader = csv.reader(
        (f"{line}\n" for line in lines),
        delimiter=options.separator,
        quotechar=options.quote or None,
        quoting=csv.QUOTE_MINIMAL if options.quote else csv.QUOTE_NONE,
    )
    try:
        found = next(reader)
    except csv.Error as error:
        first = shorten(repr(lines[0]), 100)
        raise FileUnreadable(part.name, reason=f"its first line is no header: {error}: {first}") from error
    return [name.strip() if options.trims else name for name in found]
