"""The store: all artifacts that stages pass to each other, under one root.

This module reads and writes small files and folders, and publishes both in one step (`Store.put_new` and
`Store.publish_folder`). Tables are read through `millrace.tables.versions`.
"""

import contextlib
import errno
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote, urlsplit

from millrace.errors import ConfigError
from millrace.failpoints import fail_here
from millrace.retry import NO_RETRY, RetryPolicy, retried
from millrace.storage.filesystems.files import Files, mapped_errors
from millrace.storage.filesystems.hdfs import HdfsFiles, full_root
from millrace.storage.filesystems.local import LocalFiles

_CHUNK_BYTES: Final = 1 << 20


def check_root(root: str) -> None:
    """Check the text of a store root, without access to the storage.

    Raises:
        ConfigError: Its scheme is not supported.
    """
    parts = urlsplit(root)
    if parts.scheme == "hdfs" or (parts.scheme in ("", "file") and parts.netloc in ("", "localhost")):
        return
    raise ConfigError(
        f"store.root: {root} has no supported scheme", hint="use a local path, file:///path or hdfs://host:port/path"
    )


def resolve_root(root: str) -> str:
    """Return a store root as delta-rs, Spark and pyarrow need it: an absolute local path or a full HDFS URI.

    Raises:
        ConfigError: Its scheme is not supported, or the NameNode is not known.
    """
    check_root(root)
    parts = urlsplit(root)
    if parts.scheme == "hdfs":
        return full_root(root)
    return str(Path(unquote(parts.path) if parts.scheme else root).expanduser().absolute())


def files_of(path: str, retry: RetryPolicy = NO_RETRY) -> Files:
    """Return the file system of a path; operations on a local disk are never retried."""
    return HdfsFiles(urlsplit(path).netloc, retry) if path.startswith("hdfs://") else LocalFiles()


def open_input(path: str, retry: RetryPolicy = NO_RETRY) -> BinaryIO:
    """Open a file of any file system for reading; it is seekable.

    Raises:
        OSError: The file cannot be opened.
    """
    return files_of(path, retry).open_input(path)


def uri_of(path: str) -> str:
    """The address of a file or folder for Spark, whose default file system may be another one, such as HDFS."""
    return path if "://" in path else f"file://{path}"  # not percent-encoded: Spark does not decode it


def is_plain(name: str) -> bool:
    """Whether a user's name is a single, visible file name, without slashes."""
    return name != "" and name[0] != "." and not any(mark in name for mark in "/\\\0")


class StoreUnusable(ConfigError):
    """A root of a store in which nothing can be written."""

    def __init__(self, root: str, *, reason: str) -> None:
        hint = "name a folder that this user may create, or write to"
        super().__init__(f"store.root: {root} cannot be used: {reason}", hint=hint)
        self.root = root


class Store:
    """A folder tree of tables, models and runs.

    Args:
        root: A local path, or a ``file://`` or ``hdfs://`` URI; created on first write.
        wait_s: Seconds that each operation waits while the storage is temporarily unavailable; by default it fails at
            once.
    """

    def __init__(self, root: str, *, wait_s: float = 0.0) -> None:
        self.root = resolve_root(root)
        self.retry = RetryPolicy(wait_s)
        self.files = files_of(self.root, self.retry)

    def uri(self, *parts: str) -> str:
        """Return the URI or path of parts under the root, as delta-rs, Spark and `files_of` need it.

        Raises:
            ValueError: The parts would leave the root.
        """
        names = [name for part in parts for name in part.split("/")]
        if any(part.startswith("/") for part in parts) or ".." in names:
            raise ValueError(f"{'/'.join(parts)!r} leaves the store")
        return "/".join([self.root, *(name for name in names if name not in ("", "."))])

    def check_writable(self) -> None:
        """Check that files can be written below the root, by writing one.

        Raises:
            StoreUnusable: The root cannot be used: no permission, no folder, a read-only file system.
            StorageError: The storage is full, or does not respond.
        """
        path = self.uri(f".write-check-{uuid.uuid4().hex}")
        try:
            with self.files.open_output(path):
                pass
            self.files.remove(path)
        except OSError as error:
            unusable = isinstance(error, FileNotFoundError | FileExistsError | NotADirectoryError | PermissionError)
            if unusable or error.errno == errno.EROFS:
                raise StoreUnusable(self.root, reason=str(error.strerror or error)) from error
            with mapped_errors("folder", self.root):
                raise

    def exists(self, *parts: str) -> bool:
        """Whether a file or folder exists."""
        path = self.uri(*parts)
        with mapped_errors("file", path):
            return self.files.exists(path)

    def names(self, *parts: str) -> list[str]:
        """Return the names in a folder, sorted, without hidden and staged ones; empty if there is no such folder."""
        path = self.uri(*parts)
        with mapped_errors("folder", "/".join(parts)):
            return sorted(name for name in self.files.names(path) if name[0] != ".")

    def read(self, *parts: str) -> bytes:
        """Read a whole file.

        Raises:
            ArtifactNotFound: No such file.
        """
        path = self.uri(*parts)
        with mapped_errors("file", "/".join(parts)), self.files.open_input(path) as file:
            return file.read()

    def put(self, data: bytes, *parts: str) -> None:
        """Write or replace a file in one step: readers see the old or the new bytes. It survives a crash."""
        target = self.uri(*parts)
        with mapped_errors("file", "/".join(parts)):
            staged = self._stage(data, target)
            fail_here("put.before_rename")
            with _removed_on_error(self.files, staged):
                self.files.replace(staged, target)

    def put_new(self, data: bytes, *parts: str) -> None:
        """Write a new file; if several writers use one name, exactly one succeeds.

        Raises:
            ArtifactExists: The file exists already; it is unchanged.
        """
        target = self.uri(*parts)
        with mapped_errors("file", "/".join(parts)):
            staged = self._stage(data, target)
            with _removed_on_error(self.files, staged):
                self.files.rename_new(staged, target)

    def publish_folder(self, source: Path, *parts: str) -> None:
        """Copy a local folder to a new folder, which appears completely or not at all.

        Files are staged beside the target, flushed to the disk, then renamed in one step. A killed process leaves
        only a hidden folder, which no reader lists.

        Raises:
            ArtifactExists: The target exists; it is unchanged.
        """
        target = self.uri(*parts)
        folder, _, name = target.rpartition("/")
        staged = f"{folder}/.tmp-{name}-{uuid.uuid4().hex}"
        with mapped_errors("folder", "/".join(parts)), _removed_on_error(self.files, staged):
            fail_here("publish.before_upload")
            upload(source, staged, self.retry)
            fail_here("publish.before_rename")
            self.files.rename_new(staged, target)
            fail_here("publish.after_rename")

    def remove(self, *parts: str) -> None:
        """Remove a file, or a folder with its content; nothing happens if it does not exist."""
        with mapped_errors("file", "/".join(parts)):
            self.files.remove(self.uri(*parts))

    @contextlib.contextmanager
    def local_copy(self, *parts: str) -> Iterator[Path]:
        """Yield a local path of a folder: itself in a local store, else a copy that is removed afterwards."""
        path = self.uri(*parts)
        if isinstance(self.files, LocalFiles):
            yield Path(path)
            return
        with tempfile.TemporaryDirectory(prefix="millrace-") as folder:
            with mapped_errors("folder", "/".join(parts)):
                download(path, Path(folder), self.retry)
            yield Path(folder)

    @retried
    def _stage(self, data: bytes, target: str) -> str:
        folder = target.rpartition("/")[0]
        staged = f"{folder}/.tmp-{uuid.uuid4().hex}"
        with _removed_on_error(self.files, staged), self.files.open_output(staged) as file:
            file.write(data)
        return staged


@contextlib.contextmanager
def _removed_on_error(files: Files, staged: str) -> Iterator[None]:
    """Remove a staged file if the body fails; else the next try would find it and fail."""
    try:
        yield
    except OSError:
        with contextlib.suppress(OSError):
            files.remove(staged)
        raise


def upload(folder: Path, path: str, retry: RetryPolicy = NO_RETRY) -> None:
    """Copy every file below a local folder to a folder of a store; no target file may exist.

    Raises:
        OSError: A file cannot be read or written.
    """
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    files = files_of(path, retry)
    for name in LocalFiles().walk(str(folder)):
        retry.call(_upload_file, folder / name, files, f"{path}/{name}")


def _upload_file(source: Path, files: Files, target: str) -> None:
    with _removed_on_error(files, target), source.open("rb") as file, files.open_output(target) as copy:
        shutil.copyfileobj(file, copy, _CHUNK_BYTES)


def download(path: str, folder: Path, retry: RetryPolicy = NO_RETRY) -> None:
    """Copy every file below a folder of a store to a local folder.

    Raises:
        OSError: A file cannot be read or written.
    """
    files = files_of(path, retry)
    for name in files.walk(path):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with files.open_input(f"{path}/{name}") as file, target.open("wb") as copy:
            shutil.copyfileobj(file, copy, _CHUNK_BYTES)
