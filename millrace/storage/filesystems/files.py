"""The interface of a file system, and the translation of its errors into the project's."""

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, Protocol

from millrace.errors import ArtifactExists, ArtifactNotFound, ConfigError, StorageError

_HINTS: Final = {
    errno.ENOSPC: "free some space, then run the command again",
    errno.EDQUOT: "raise the quota or free some space, then run the command again",
    errno.ECONNREFUSED: "is the NameNode running, and is this its address?",
    errno.EHOSTUNREACH: "can this machine resolve and reach the host?",
    errno.ETIMEDOUT: "is the NameNode running, and can this machine reach it?",
    errno.EAGAIN: "the NameNode is starting, or lacks blocks: wait, then run the command again",
}


@contextlib.contextmanager
def mapped_errors(kind: str, name: str) -> Iterator[None]:
    """Turn the operating system's errors into the project's."""
    try:
        yield
    except FileNotFoundError as error:
        raise ArtifactNotFound(kind=kind, name=name) from error
    except FileExistsError as error:
        raise ArtifactExists(kind=kind, name=name) from error
    except PermissionError as error:
        who = f": {error.strerror}" if error.errno is None and error.strerror else ""
        raise ConfigError(
            f"no permission for {error.filename or name}{who}",
            hint="give this user permission for it",
        ) from error
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "")
        raise StorageError(f"{kind} '{name}': {error.strerror or error}", hint=hint) from error


def is_of_storage(error: BaseException) -> bool:
    """Whether an error comes from the storage, and not from damaged bytes.

    For damaged bytes, Arrow and bz2 raise a plain `OSError` without a number.
    """
    return isinstance(error, OSError) and (error.errno is not None or type(error) is not OSError)


@dataclass(frozen=True)
class Entry:
    """The status of a file or folder.

    Attributes:
        path: Absolute path, in the form of `Files`.
        is_folder: Whether it is a folder.
        size: Size of a file in bytes.
        modified_ns: Modification time, in nanoseconds since 1970.
        identity: Differs after a file was replaced, if the file system supports that; else 0.
    """

    path: str
    is_folder: bool
    size: int
    modified_ns: int
    identity: int = 0

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def stamp(self) -> tuple[int, int, int]:
        """Changes when the file is written."""
        return self.size, self.modified_ns, self.identity


class Files(Protocol):
    """A file system. Paths are absolute, in a form that delta-rs and Spark accept too.

    Every method raises the matching subclass of `OSError`: a missing file is a `FileNotFoundError` on every system.
    """

    def exists(self, path: str) -> bool:
        """Whether a file or folder exists."""

    def names(self, path: str) -> list[str]:
        """Return the names in a folder, in any order; empty if there is no such folder."""

    def walk(self, path: str) -> list[str]:
        """Return every file below a folder, relative to it, sorted."""

    def entry(self, path: str) -> Entry:
        """Return the status of a file or folder."""

    def entries(self, path: str) -> list[Entry]:
        """Return the content of a folder, in any order."""

    def size(self, path: str) -> int:
        """Return the size of a file in bytes."""

    def modified(self, path: str) -> float:
        """Return the modification time of a file or folder, in seconds since 1970."""

    def open_input(self, path: str) -> BinaryIO:
        """Open a file for reading; it is seekable."""

    def open_output(self, path: str) -> BinaryIO:
        """Create a new file and its parent folders; once it is closed, its bytes survive a crash."""

    def rename_new(self, source: str, target: str) -> None:
        """Rename a file or folder in one step.

        Raises:
            FileExistsError: The target exists; it is unchanged.
        """

    def replace(self, source: str, target: str) -> None:
        """Rename a file in one step, and replace the target."""

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with its content; nothing happens if it does not exist."""
