"""The store: every artifact that stages pass to each other lies under one root.

Only what needs no engine is here: whole small files, folders, and the two steps that make something visible at once
(`Store.put_new` and `Store.publish_folder`). Tables are read through `millrace.tables.versions`.
"""

import contextlib
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
    """Find out from its text alone whether a store root can be used.

    Raises:
        ConfigError: It has a scheme that this version does not serve.
    """
    parts = urlsplit(root)
    if parts.scheme == "hdfs" or (parts.scheme in ("", "file") and parts.netloc in ("", "localhost")):
        return
    raise ConfigError(
        f"store.root: {root} has no supported scheme", hint="use a local path, file:///path or hdfs://host:port/path"
    )


def resolve_root(root: str) -> str:
    """The form of a store root that delta-rs, Spark and pyarrow all take: an absolute local path or a full HDFS URI.

    Raises:
        ConfigError: It has a scheme that this version does not serve, or names no NameNode.
    """
    check_root(root)
    parts = urlsplit(root)
    if parts.scheme == "hdfs":
        return full_root(root)
    return str(Path(unquote(parts.path) if parts.scheme else root).expanduser().absolute())


def files_of(path: str, retry: RetryPolicy = NO_RETRY) -> Files:
    """The file system of a path; operations on a local disk are never retried."""
    return HdfsFiles(urlsplit(path).netloc, retry) if path.startswith("hdfs://") else LocalFiles()


def open_input(path: str, retry: RetryPolicy = NO_RETRY) -> BinaryIO:
    """Open a file of a store for reading anywhere in it.

    Raises:
        OSError: As the file system says.
    """
    return files_of(path, retry).open_input(path)


def is_plain(name: str) -> bool:
    """Whether a name that a user typed names one visible thing in one folder."""
    return name != "" and name[0] != "." and not any(mark in name for mark in "/\\\0")


class Store:
    """A folder tree that holds tables, models and runs.

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
        """A place under the root, as delta-rs, Spark and `files_of` take it; parts never climb out of the root."""
        names = [name for part in parts for name in part.split("/")]
        if any(part.startswith("/") for part in parts) or ".." in names:
            raise ValueError(f"{'/'.join(parts)!r} leaves the store")
        return "/".join([self.root, *(name for name in names if name not in ("", "."))])

    def exists(self, *parts: str) -> bool:
        """Whether a file or folder is there."""
        path = self.uri(*parts)
        with mapped_errors("file", path):
            return self.files.exists(path)

    def names(self, *parts: str) -> list[str]:
        """Names in a folder, sorted, without hidden and staged ones; empty when there is no such folder."""
        path = self.uri(*parts)
        with mapped_errors("folder", "/".join(parts)):
            return sorted(name for name in self.files.names(path) if name[0] != ".")

    def read(self, *parts: str) -> bytes:
        """A whole file.

        Raises:
            ArtifactNotFound: No such file.
        """
        path = self.uri(*parts)
        with mapped_errors("file", "/".join(parts)), self.files.open_input(path) as file:
            return file.read()

    def put(self, data: bytes, *parts: str) -> None:
        """Write a file so that readers see the old bytes or the new ones, and they survive a crash."""
        target = self.uri(*parts)
        with mapped_errors("file", "/".join(parts)):
            staged = self._stage(data, target)
            fail_here("put.before_rename")
            self.files.replace(staged, target)

    def put_new(self, data: bytes, *parts: str) -> None:
        """Write a file that must not be there yet; of several writers exactly one wins.

        Raises:
            ArtifactExists: The file is there already; it is unchanged.
        """
        target = self.uri(*parts)
        with mapped_errors("file", "/".join(parts)):
            staged = self._stage(data, target)
            with _swept(self.files, staged):
                self.files.rename_new(staged, target)

    def publish_folder(self, source: Path, *parts: str) -> None:
        """Copy a local folder to a new place, visible whole or not at all.

        Files are staged beside the target, flushed to the disk, then renamed in one step. A killed publish leaves
        only a hidden folder, which no reader lists.

        Raises:
            ArtifactExists: The place is taken; it is unchanged.
        """
        target = self.uri(*parts)
        folder, _, name = target.rpartition("/")
        staged = f"{folder}/.tmp-{name}-{uuid.uuid4().hex}"
        with mapped_errors("folder", "/".join(parts)), _swept(self.files, staged):
            fail_here("publish.before_upload")
            upload(source, staged, self.retry)
            fail_here("publish.before_rename")
            self.files.rename_new(staged, target)
            fail_here("publish.after_rename")

    def remove(self, *parts: str) -> None:
        """Remove a file or a folder with all that is in it, if it is there."""
        with mapped_errors("file", "/".join(parts)):
            self.files.remove(self.uri(*parts))

    @contextlib.contextmanager
    def local_copy(self, *parts: str) -> Iterator[Path]:
        """A folder as a local one: itself where the store is local, else a copy that ends with the block."""
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
        with _swept(self.files, staged), self.files.open_output(staged) as file:
            file.write(data)
        return staged


@contextlib.contextmanager
def _swept(files: Files, staged: str) -> Iterator[None]:
    """Remove what the body staged if it fails; else its next try would find a file that must not be there."""
    try:
        yield
    except OSError:
        with contextlib.suppress(OSError):
            files.remove(staged)
        raise


def upload(folder: Path, path: str, retry: RetryPolicy = NO_RETRY) -> None:
    """Copy every file below a local folder into one of a store; none of them may be there.

    Raises:
        OSError: As the file system says.
    """
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    files = files_of(path, retry)
    for name in LocalFiles().walk(str(folder)):
        retry.call(_upload_file, folder / name, files, f"{path}/{name}")


def _upload_file(source: Path, files: Files, target: str) -> None:
    with _swept(files, target), source.open("rb") as file, files.open_output(target) as copy:
        shutil.copyfileobj(file, copy, _CHUNK_BYTES)


def download(path: str, folder: Path, retry: RetryPolicy = NO_RETRY) -> None:
    """Copy every file below a folder of a store into a local one.

    Raises:
        OSError: As the file system says.
    """
    files = files_of(path, retry)
    for name in files.walk(path):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with files.open_input(f"{path}/{name}") as file, target.open("wb") as copy:
            shutil.copyfileobj(file, copy, _CHUNK_BYTES)
