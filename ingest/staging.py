"""Brings source files to where Spark can read them: unpacked, in UTF-8, under names of our own.

Spark never sees a user's file name: it would expand brackets and stars in it, guess a compression from its ending,
and hide what starts with an underscore.
"""

import codecs
import contextlib
import csv
import io
import logging
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ingest.archives import CHUNK_BYTES, Part, find_parts
from ingest.errors import FileUnreadable, HeaderMismatch
from ingest.lines import BLANK, LineCount, LineCounter
from ingest.options import ReaderOptions
from pipelines.errors import StorageError, shorten
from pipelines.storage import Store, mapped_errors

logger = logging.getLogger(__name__)

STALE_S: Final = 24 * 3600
"""A staging folder older than this was left by a run that was killed."""


@dataclass(frozen=True)
class StagedFile:
    """One file of text that Spark can read.

    Attributes:
        path: Where it lies now.
        name: What the user calls it.
        header: Text of its header line; None without a header.
        lines: What it holds, counted without Spark.
    """

    path: Path
    name: str
    header: str | None
    lines: LineCount


@contextlib.contextmanager
def staging_folder(store: Store, run_id: str) -> Iterator[Path]:
    """A folder beside the tables, where every executor can read it; removed at the end, whatever happens."""
    root = store.path(".staging")
    folder = root / run_id
    with mapped_errors("folder", ".staging"):
        folder.mkdir(parents=True)
        for old in root.iterdir():
            if time.time() - old.stat().st_mtime > STALE_S:
                shutil.rmtree(old, ignore_errors=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stage(path: Path, folder: Path, columns: Iterable[str], options: ReaderOptions) -> list[StagedFile]:
    """Check the header of every file in a source, count its lines and make it readable.

    Raises:
        HeaderMismatch: A header is not the declared columns.
        FileUnreadable: A damaged archive, or bytes that are not text.
        StorageError: The disk is full.
    """
    folder.mkdir()
    staged = []
    for number, part in enumerate(find_parts(path)):
        header = _check_header(part, list(columns), options) if options.header else None
        target = folder / f"{number:05d}.csv"
        counter = LineCounter(header, options.quote)
        if part.compressed or not options.is_utf8:
            _copy(part, target, counter, options)
        else:
            target.symlink_to(path.absolute())
            for chunk in part.chunks():
                counter.feed(chunk)
        staged.append(StagedFile(target, part.name, header, counter.finish()))
    return staged


def _copy(part: Part, target: Path, counter: LineCounter, options: ReaderOptions) -> None:
    try:
        with target.open("xb") as file:
            for chunk in _as_utf8(part, options):
                counter.feed(chunk)
                file.write(chunk)
    except OSError as error:
        free = shutil.disk_usage(target.parent).free
        reason = f"{error.strerror or error} ({free} bytes free in {target.parent})"
        raise StorageError(f"{part.name} cannot be unpacked: {reason}") from error


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


def _check_header(part: Part, columns: list[str], options: ReaderOptions) -> str | None:
    """Compare the first line that is not blank with the columns.

    Returns:
        The line; None where the file holds no line, or where a record may span lines and nothing can be compared.
    """
    with part.open() as stream:
        text = io.TextIOWrapper(io.BytesIO(stream.read(CHUNK_BYTES)), options.encoding, errors="replace", newline=None)
        lines = [line.rstrip("\n") for line in text]
    lines = [line.removeprefix("\ufeff") if n == 0 else line for n, line in enumerate(lines)]
    first = next((n for n, line in enumerate(lines) if line.strip(BLANK.decode())), None)
    if first is None:
        return None
    found = _fields(part, lines[first:] if options.multi_line else lines[first : first + 1], options)
    if found != columns:
        raise HeaderMismatch(part.name, expected=columns, found=found)
    return lines[first]


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
