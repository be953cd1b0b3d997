"""The files of a transfer, and the threads that transfer them."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from millrace.errors import ConfigError, InputMissing, StorageError, Unavailable
from millrace.progress import progress
from millrace.retry import RetryPolicy
from pipelines.transfer.errors import Interrupted

if TYPE_CHECKING:
    from concurrent.futures import Future

TRIES: Final = 4
T = TypeVar("T")


@dataclass(frozen=True)
class Moved:
    """The result of a transfer.

    Attributes:
        outcome: ``already`` if the target had the same bytes before.
        bytes: Size of all files.
        sent: Bytes that were transferred this time.
    """

    outcome: Literal["committed", "already"]
    target: str
    files: int
    bytes: int
    sent: int


def local_tree(source: Path) -> tuple[list[str], list[str]]:
    """List files and empty folders below a folder, relative to it; for a file, one empty name.

    Raises:
        InputMissing: There is no such file or folder.
        ConfigError: An entry is neither a file nor a folder, is a link to a folder, or has a name that is not UTF-8.
    """
    if source.is_file():
        return [""], []
    if not source.is_dir():
        raise InputMissing(f"there is no file or folder {str(source)!r}")
    files: list[str] = []
    empty: list[str] = []
    for folder, inner, names in os.walk(source, onerror=_raise):
        for name in (*inner, *names):
            path = Path(folder, name)
            if (path.is_symlink() and path.is_dir()) or not (path.is_dir() or path.is_file()):
                raise ConfigError(
                    f"{str(path)!r} is neither a file nor a folder", hint="links to folders are not supported"
                )
            if any("\udc80" <= mark <= "\udcff" for mark in name):
                raise ConfigError(f"{os.fsencode(path)!r} has a name that is not UTF-8", hint="rename it")
        relative = Path(folder).relative_to(source)
        files += [(relative / name).as_posix() for name in names]
        if not inner and not names and folder != str(source):
            empty.append(relative.as_posix())
    return sorted(files), sorted(empty)


def _raise(error: OSError) -> None:
    raise StorageError(f"{error.filename!r}: {error.strerror}") from error


class TransferPool:
    """Threads that share the work of a transfer; the first error stops all of them."""

    def __init__(self, threads: ThreadPoolExecutor, show: Callable[[int], None]) -> None:
        self._threads = threads
        self._show = show
        self._lock = threading.Lock()
        self._done = 0
        self.sent = 0
        self.stopped = threading.Event()

    def submit(self, work: Callable[..., T], *arguments: object) -> "Future[T]":
        """Run a piece of work on a thread; a broken connection is retried."""
        retry = RetryPolicy(
            wait_s=None,
            tries=TRIES,
            first_pause_s=2.0,
            shortest_pause_s=1.0,
            longest_pause_s=4.0,
            is_temporary=lambda error: isinstance(error, Interrupted),
            stop=self.stopped,
            waits_for="the connection",
            log_after_s=5.0,
        )
        return self._threads.submit(retry.call, work, *arguments)

    def advance(self, count: int, *, moved: bool) -> None:
        """Report that more bytes are at their target; a negative count takes back those of a failed try."""
        with self._lock:
            self._done += count
            self.sent += count if moved and count > 0 else 0
            self._show(self._done)

    def check(self) -> None:
        """Stop this thread if another one failed or the user stopped the transfer.

        Raises:
            Unavailable: The transfer was stopped.
        """
        if self.stopped.is_set():
            raise Unavailable("the transfer was stopped; run the same command again to resume it")


@contextlib.contextmanager
def transfer_pool(what: str, total: int, workers: int) -> Iterator[TransferPool]:
    """Start threads that end with the block, and show their progress."""
    with progress(what, total) as show, ThreadPoolExecutor(workers, thread_name_prefix="transfer") as threads:
        pool = TransferPool(threads, show)
        try:
            yield pool
        except BaseException:
            pool.stopped.set()
            threads.shutdown(wait=False, cancel_futures=True)
            raise
