"""What the store needs of a file system, and the one place where a file system's errors become the project's."""

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, Protocol

from millrace.errors import ArtifactExists, ArtifactNotFound, ConfigError, StorageError

_HINTS: Final = {
    errno.ENOSPC: "free some space, then run it again",
    errno.EDQUOT: "raise the quota or free some space, then run it again",
    errno.ECONNREFUSED: "is the NameNode up, and is this its address?",
    errno.EHOSTUNREACH: "does this machine know the host?",
    errno.ETIMEDOUT: "is the NameNode up, and can it be reached from here?",
    errno.EAGAIN: "it is starting, or lacks blocks: wait, then run it again",
}


@contextlib.contextmanager
def mapped_errors(kind: str, name: str) -> Iterator[None]:
    """Turn the operating system's errors into the project's; the only place that does."""
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
            hint="give the user that runs this rights to the store",
        ) from error
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "")
        raise StorageError(f"{kind} '{name}': {error.strerror or error}", hint=hint) from error


def is_of_storage(error: BaseException) -> bool:
    """Whether an error tells of the storage, and not of the bytes.

    Of bytes that make no sense Arrow and bz2 raise a plain `OSError`, without a number.
    """
    return isinstance(error, OSError) and (error.errno is not None or type(error) is not OSError)


@dataclass(frozen=True)
class Entry:
    """A file or folder as its file system lists it.

    Attributes:
        path: Absolute, as `Files` takes it.
        is_folder: Whether others may lie in it.
        size: Bytes of a file.
        modified_ns: When it was changed last, since 1970.
        identity: Tells a file from another that took its place, where the file system can.
    """

    path: str
    is_folder: bool
    size: int
    modified_ns: int
    identity: int = 0

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]

    @property
    def stamp(self) -> tuple[int, int, int]:
        """Changes when somebody writes to the file."""
        return self.size, self.modified_ns, self.identity


class Files(Protocol):
    """A file system. Paths are absolute, in the form that delta-rs and Spark take too.

    Every method raises the errors of `OSError` that fit: a missing file is a `FileNotFoundError`, whoever stores it.
    """

    def exists(self, path: str) -> bool:
        """Whether a file or folder is there."""

    def names(self, path: str) -> list[str]:
        """Names in a folder, in any order; empty where there is no such folder."""

    def walk(self, path: str) -> list[str]:
        """Every file below a folder, relative to it, sorted."""

    def entry(self, path: str) -> Entry:
        """What is known of a file or folder."""

    def entries(self, path: str) -> list[Entry]:
        """What lies in a folder, in any order."""

    def size(self, path: str) -> int:
        """Bytes of a file."""

    def modified(self, path: str) -> float:
        """When a file or folder was changed last, in seconds since 1970."""

    def open_input(self, path: str) -> BinaryIO:
        """Open a file for reading anywhere in it."""

    def open_output(self, path: str) -> BinaryIO:
        """Make a file that must not be there, with the folders above it; closed, its bytes survive a crash."""

    def rename_new(self, source: str, target: str) -> None:
        """Rename a file or folder in one step.

        Raises:
            FileExistsError: There is something at the target; it is unchanged.
        """

    def replace(self, source: str, target: str) -> None:
        """Rename a file in one step over what is there."""

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it; nothing if it is not there."""
