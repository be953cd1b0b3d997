"""The cache of this machine: copies of model versions whose store is on other machines.

``<cache>/models/<digest>/<name>/<version>`` is a version with verified files. Copies that were not used for long are
removed when the cache is larger than its limit. ``<cache>/foreign/`` has files that nobody can verify: a copy there
belongs to one process and is removed with it.
"""

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from millrace.errors import ConfigError, StorageError

logger = logging.getLogger(__name__)

VARIABLE: Final = "MILLRACE_CACHE"
SIZE_VARIABLE: Final = "MILLRACE_CACHE_GB"
DEFAULT_GB: Final = 10.0
LOCK: Final = ".lock"
GRACE_S: Final = 3600.0
"""A copy that was used in this time is not removed: a process may be loading it."""
STAGED_S: Final = 86_400.0
"""The same for a download, whose folder shows only when it began."""


def cache_folder() -> Path:
    """The folder of the cache, which exists and can be written.

    It is ``MILLRACE_CACHE``; without that, ``millrace`` in ``XDG_CACHE_HOME`` or ``~/.cache``. A user without a home,
    or with one that cannot be written, as in many containers, gets a folder below the system's temporary one.

    Raises:
        ConfigError: ``MILLRACE_CACHE`` names a folder that cannot be written, or ``MILLRACE_CACHE_GB`` is not a number.
    """
    _limit_bytes()
    named = os.environ.get(VARIABLE)
    if named:
        folder = Path(named).expanduser().absolute()
        try:
            _check_writable(folder)
        except OSError as error:
            raise ConfigError(
                f"{VARIABLE}: {folder} cannot be written: {error.strerror or error}",
                hint="name a folder that this user may create and write to",
            ) from error
        return folder
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "millrace")
        _check_writable(folder)
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        return _temporary_cache()
    return folder


def _check_writable(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _temporary_cache() -> Path:
    """A folder below the system's temporary one that no other user can write to."""
    folder = Path(tempfile.gettempdir(), f"millrace-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise ConfigError(
            f"the cache folder {folder} belongs to another user, or others can write to it",
            hint=f"set {VARIABLE} to a folder of this user",
        )
    return folder


@contextlib.contextmanager
def errors_of_full_disk(folder: Path) -> Iterator[None]:
    """Say that the cache is full, instead of that the store has no space left.

    Args:
        folder: The folder of the cache that is written to. Not `cache_folder`, which may choose another if it is full.

    Raises:
        StorageError: There is no space left for a copy.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(folder).free
        raise StorageError(
            f"the cache {folder} is full: {free / 1e6:,.1f} MB are free",
            hint=f"free some space, or set {VARIABLE} to a folder on a larger disk",
        ) from error


def mark_used(copy: Path) -> None:
    """Note that a version is used now."""
    with contextlib.suppress(OSError):  # another process may have removed it
        os.utime(copy)


def evict(kept: Path) -> None:
    """Remove versions while the cache is over its limit, those first that were used last the longest time ago.

    Args:
        kept: A version that is not removed.

    Raises:
        ConfigError: ``MILLRACE_CACHE_GB`` is not a number.
    """
    limit = _limit_bytes()
    now = time.time()
    copies = sorted(_entries(kept.parents[2]))
    total = sum(size for _, size, _ in copies)
    for used, size, path in copies:
        is_staged = path.name.startswith(".tmp-")  # after a day: a process was killed while it downloaded
        if path == kept or now - used < (STAGED_S if is_staged else GRACE_S) or (total <= limit and not is_staged):
            continue
        with contextlib.suppress(OSError):
            if path.stat().st_mtime != used:
                continue  # another process has just begun to use it
        if not is_staged:
            logger.info("removed %s from the cache, which is over its limit of %g GB", path, limit / 1e9)
        remove_copy(path)
        total -= size


def remove_copy(path: Path) -> None:
    """Remove a copy. Another process sees the whole copy or none, and may do the same at this moment."""
    aside = path.with_name(f".tmp-old-{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)
    for folder in (path.parent, path.parent.parent):
        with contextlib.suppress(OSError):  # it is not empty
            folder.rmdir()


def _entries(root: Path) -> Iterator[tuple[float, int, Path]]:
    """Time of the last use, size in bytes, and path of every copy."""
    for path in root.glob("*/*/*"):
        with contextlib.suppress(OSError):  # another process may remove it
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            yield path.stat().st_mtime, size, path


def _limit_bytes() -> float:
    text = os.environ.get(SIZE_VARIABLE) or str(DEFAULT_GB)
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = -1.0
    if not 0 <= gigabytes < float("inf"):
        raise ConfigError(f"{SIZE_VARIABLE}: expected a number of gigabytes, found {text[:64]!r}")
    return gigabytes * 1e9


class OwnedFolder:
    """A new folder of this process in the cache. If the process is killed, the next one removes the folder.

    A lock says that it is in use; the kernel releases it when the process ends, however that happens.

    Args:
        prefix: Of its name.

    Attributes:
        path: The folder.
    """

    def __init__(self, prefix: str) -> None:
        parent = cache_folder() / "foreign"
        parent.mkdir(exist_ok=True)
        _remove_abandoned(parent)
        self.path = parent / f"{prefix}-{uuid.uuid4().hex}"
        self._lock: int | None = _new_lock(_lock_of(self.path))
        self.path.mkdir()

    def remove(self) -> None:
        """Remove it; may be called again."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            _lock_of(self.path).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}{LOCK}")  # not `with_suffix`: names of models may have dots


def _new_lock(path: Path) -> int:
    """Make a locked file. It gets its name when it is locked: no other process sees it without its lock."""
    hidden = path.with_name(f".new-{path.name}")
    descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        hidden.rename(path)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_abandoned(parent: Path) -> None:
    for file in parent.glob(f"*{LOCK}"):
        if file.name.startswith("."):
            continue
        try:
            descriptor = os.open(file, os.O_RDWR)
        except FileNotFoundError:
            continue  # its process has just removed it
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # in use
        else:
            shutil.rmtree(file.with_name(file.name.removesuffix(LOCK)), ignore_errors=True)
            file.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
