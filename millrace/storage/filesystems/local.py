"""The local file system; written files survive a crash of the machine."""

import errno
import io
import os
import shutil
import stat
from pathlib import Path
from typing import BinaryIO

from millrace.storage.filesystems.files import Entry


class LocalFiles:
    """The files of this machine. Paths have no scheme."""

    def exists(self, path: str) -> bool:
        """Whether a file or folder exists."""
        return Path(path).exists()

    def names(self, path: str) -> list[str]:
        """Return the names in a folder."""
        folder = Path(path)
        return [each.name for each in folder.iterdir()] if folder.is_dir() else []

    def walk(self, path: str) -> list[str]:
        """Return every file below a folder."""
        folder = Path(path)
        return sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file())

    def entry(self, path: str) -> Entry:
        """Return the status of a file or folder."""
        status = Path(path).stat()
        is_folder = stat.S_ISDIR(status.st_mode)
        return Entry(path, is_folder, status.st_size, status.st_mtime_ns, status.st_ino)

    def entries(self, path: str) -> list[Entry]:
        """Return the content of a folder."""
        with os.scandir(path) as found:
            return [self.entry(each.path) for each in found]

    def size(self, path: str) -> int:
        """Return the size of a file in bytes."""
        return Path(path).stat().st_size

    def modified(self, path: str) -> float:
        """Return the modification time of a file or folder."""
        return Path(path).stat().st_mtime

    def open_input(self, path: str) -> BinaryIO:
        """Open a file for reading."""
        return Path(path).open("rb")

    def open_output(self, path: str) -> BinaryIO:
        """Create a new file."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return io.BufferedWriter(_Durable(path))

    def rename_new(self, source: str, target: str) -> None:
        """Rename without replacing."""
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        if Path(source).is_dir():
            try:
                # A rename onto a folder with content fails, so an existing version is never replaced.
                Path(source).rename(target)
            except OSError as error:
                if error.errno == errno.ENOTEMPTY:
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from error
                raise
        else:
            # A POSIX rename would silently replace the other writer's file; a hard link fails instead.
            os.link(source, target)
            Path(source).unlink()
        _sync(Path(target).parent)

    def replace(self, source: str, target: str) -> None:
        """Rename, and replace the target."""
        Path(source).replace(target)
        _sync(Path(target).parent)

    def remove(self, path: str) -> None:
        """Remove a file or a whole folder."""
        if Path(path).is_dir() and not Path(path).is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            Path(path).unlink(missing_ok=True)


class _Durable(io.FileIO):
    """A new file that flushes its bytes, and its name in the folder, to the disk when it is closed."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "x")
        self._folder = Path(path).parent

    def close(self) -> None:
        if not self.closed:
            os.fsync(self.fileno())
            super().close()
            _sync(self._folder)


def _sync(folder: Path) -> None:
    """Flush a folder's list of names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
