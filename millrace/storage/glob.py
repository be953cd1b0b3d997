"""Finds the files of a path on any file system: one file, all files below a folder, or those that match a pattern."""

import contextlib
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final

from millrace.storage.filesystems.files import Entry, Files

_MAGIC: Final = re.compile(r"[*?\[]")
_UNFINISHED: Final = "._COPYING_"
"""Suffix of a file that ``hadoop fs -put`` is still writing."""


def has_pattern(path: str) -> bool:
    """Whether a path contains ``*``, ``?`` or ``[``."""
    return _MAGIC.search(path) is not None


def find_entries(files: Files, path: str) -> list[Entry]:
    """Return the files of a path, sorted. A path that exists is literal, even if it contains pattern characters.

    In folders and patterns, names that start with a dot or an underscore are left out, as in Spark and Hadoop. So are
    files that are still being copied. ``**`` matches any number of folders.

    Raises:
        OSError: A folder cannot be listed, or a path without a pattern does not exist.
    """
    path = path.rstrip("/")
    try:
        found = [files.entry(path)]
    except (FileNotFoundError, NotADirectoryError):
        if not has_pattern(path):
            raise
        found = _matches(files, path)
    below = {file.path: file for entry in found for file in _below(files, entry)}
    return [below[name] for name in sorted(below)]


def _matches(files: Files, path: str) -> list[Entry]:
    first = next(n for n, part in enumerate(path.split("/")) if has_pattern(part))
    parts = path.split("/")
    try:
        found = [files.entry("/".join(parts[:first]) or "/")]
    except FileNotFoundError:
        return []
    for part in parts[first:]:
        folders = [entry for entry in found if entry.is_folder]
        if part == "**":
            found = [inner for folder in folders for inner in _folders(files, folder)]
        else:
            found = [e for folder in folders for e in files.entries(folder.path) if _fits(e.name, part)]
    return found


def _fits(name: str, part: str) -> bool:
    return fnmatchcase(name, part) and (_is_visible(name) or part[0] == name[0])


def _is_visible(name: str) -> bool:
    return name[0] not in "._" and not name.endswith(_UNFINISHED)


def _below(files: Files, entry: Entry) -> Iterator[Entry]:
    if not entry.is_folder:
        yield entry
        return
    for inner in _visible(files, entry):
        yield from _below(files, inner)


def _folders(files: Files, entry: Entry) -> Iterator[Entry]:
    yield entry
    for inner in _visible(files, entry):
        if inner.is_folder:
            yield from _folders(files, inner)


def _visible(files: Files, folder: Entry) -> list[Entry]:
    found: list[Entry] = []
    with contextlib.suppress(FileNotFoundError):  # the folder was removed since it was listed
        found = files.entries(folder.path)
    return [entry for entry in found if _is_visible(entry.name)]
