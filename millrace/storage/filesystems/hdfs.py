"""HDFS without a JVM, by hdfs-native; errors become the `OSError` that a local file system would raise."""

import contextlib
import errno
import functools
import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import urlsplit
from xml.etree import ElementTree

from millrace.errors import ConfigError
from millrace.retry import NO_RETRY, RetryPolicy, retried
from millrace.storage.filesystems.files import Entry
from millrace.storage.filesystems.hadoop_errors import translated
from millrace.storage.filesystems.hdfs_streams import Input, Output

if TYPE_CHECKING:
    from hdfs_native import Client

DEFAULT_PORT: Final = 8020
REACH_TIMEOUT_S: Final = 5.0
"""Timeout for a connection to the NameNode."""
CLIENT_OPTIONS: Final = {
    # The client's own wait cannot be interrupted, limited or logged: `millrace.retry` waits instead.
    "dfs.client.failover.max.attempts": "1",
    "dfs.client.failover.sleep.base.millis": "200",
    "dfs.client.failover.sleep.max.millis": "1000",
}
"""Settings of the client in addition to those of ``HADOOP_CONF_DIR``; delta-rs uses them too."""
BUFFER_BYTES: Final = 1 << 20


def full_root(root: str) -> str:
    """Return an ``hdfs://`` root with host and port: its own, or those of the default file system.

    Raises:
        ConfigError: Neither the root nor ``HADOOP_CONF_DIR`` has a host.
    """
    parts = urlsplit(root)
    authority = parts.netloc or urlsplit(_default_fs(root)).netloc
    return f"hdfs://{authority}{parts.path.rstrip('/')}"


def _default_fs(root: str) -> str:
    folder = os.environ.get("HADOOP_CONF_DIR")
    if not folder:
        raise ConfigError(
            f"store.root: {root} names no NameNode, and HADOOP_CONF_DIR is not set",
            hint="write hdfs://host:port/path, or set HADOOP_CONF_DIR to the folder of core-site.xml",
        )
    path = Path(folder, "core-site.xml")
    try:
        found = {p.findtext("name"): p.findtext("value") for p in ElementTree.parse(path).iter("property")}  # noqa: S314 - the administrator's own file
    except (OSError, ElementTree.ParseError) as error:
        raise ConfigError(f"store.root: {root}: {path} cannot be read: {error}") from error
    value = found.get("fs.defaultFS") or found.get("fs.default.name") or ""
    if not value.startswith("hdfs://"):
        raise ConfigError(f"store.root: {root}: fs.defaultFS in {path} is '{value}', not hdfs://host:port")
    return value


def _path(uri: str) -> str:
    return "/" + uri.partition("://")[2].partition("/")[2]


@functools.lru_cache(maxsize=8)
def _client(authority: str, process: int) -> "Client":
    """Return the client of a NameNode for this process: its connections do not survive a fork.

    Connections to DataNodes do not either. All clients share them, and they stay open for 3 s after use. So fork before
    the first read, or use spawn.
    """
    from hdfs_native import Client

    host, _, port = authority.partition(":")
    if port or "." in host or host == "localhost":  # else it is the name of a service with several NameNodes
        try:
            socket.create_connection((host, int(port or DEFAULT_PORT)), REACH_TIMEOUT_S).close()
        except OSError as error:
            raise OSError(
                error.errno or errno.EHOSTUNREACH, f"hdfs://{authority}: {error.strerror or error}"
            ) from error
    return Client(f"hdfs://{authority}", CLIENT_OPTIONS)


class HdfsFiles:
    """The files of an HDFS. Paths are ``hdfs://host:port/path``, literal and without escapes.

    Args:
        authority: ``host:port`` of the NameNode, or the name of a service that ``HADOOP_CONF_DIR`` describes.
        retry: Policy for every operation.
    """

    def __init__(self, authority: str, retry: RetryPolicy = NO_RETRY) -> None:
        self.authority = authority
        self.retry = retry

    @contextlib.contextmanager
    def _translating(self, path: str) -> Iterator["Client"]:
        try:
            yield _client(self.authority, os.getpid())
        except (RuntimeError, OSError) as error:
            raise translated(error, self.authority, path) from error

    @retried
    def exists(self, path: str) -> bool:
        """Whether a file or folder exists."""
        try:
            self._status(path)
        except FileNotFoundError:
            return False
        return True

    @retried
    def names(self, path: str) -> list[str]:
        """Return the names in a folder."""
        with self._translating(path) as client:
            try:
                if not client.get_file_info(_path(path)).isdir:
                    return []
                return [each.path.rpartition("/")[2] for each in client.list_status(_path(path))]
            except FileNotFoundError:
                return []

    @retried
    def walk(self, path: str) -> list[str]:
        """Return every file below a folder."""
        with self._translating(path) as client:
            top = _path(path).rstrip("/") + "/"
            found = client.list_status(_path(path), recursive=True)
            return sorted(each.path.removeprefix(top) for each in found if not each.isdir)

    def entry(self, path: str) -> Entry:
        """Return the status of a file or folder."""
        return _entry(path, self._status(path))

    def entries(self, path: str) -> list[Entry]:
        """Return the content of a folder."""
        with self._translating(path) as client:
            found = list(client.list_status(_path(path)))
        return [_entry(f"{path.rstrip('/')}/{each.path.rpartition('/')[2]}", each) for each in found]

    def size(self, path: str) -> int:
        """Return the size of a file in bytes."""
        return int(self._status(path).length)

    def modified(self, path: str) -> float:
        """Return the modification time of a file or folder."""
        return float(self._status(path).modification_time) / 1000

    @retried
    def _status(self, path: str) -> Any:
        with self._translating(path) as client:
            return client.get_file_info(_path(path))

    def open_input(self, path: str) -> BinaryIO:
        """Open a file for reading."""
        return io.BufferedReader(
            Input(functools.partial(self.open_native, path), self.authority, path, self.retry), BUFFER_BYTES
        )

    @retried
    def open_native(self, path: str) -> Any:
        """Open the client's own reader of a file."""
        with self._translating(path) as client:
            return client.read(_path(path))

    def open_output(self, path: str) -> BinaryIO:
        """Create a new file under a unique name.

        On a retry, an existing file was created by a request whose reply was lost, so it is replaced.
        """
        from hdfs_native import WriteOptions

        is_retry = False

        def create() -> Any:
            nonlocal is_retry
            options, is_retry = WriteOptions(overwrite=is_retry), True
            with self._translating(path) as client:
                return client.create(_path(path), options)

        return io.BufferedWriter(Output(self.retry.call(create), self.authority, path), BUFFER_BYTES)

    @retried
    def rename_new(self, source: str, target: str) -> None:
        """Rename without replacing.

        Sources have unique names. So if the source is gone and the target exists, the rename was done by a request
        whose reply was lost, and that the client sent again.
        """
        with self._translating(target) as client:
            client.mkdirs(_path(target).rpartition("/")[0], create_parent=True)
            try:
                client.rename(_path(source), _path(target), overwrite=False)
            except (FileExistsError, FileNotFoundError):
                if self.exists(source) or not self.exists(target):
                    raise

    @retried
    def replace(self, source: str, target: str) -> None:
        """Rename, and replace the target; a source that is gone was renamed, as in `rename_new`."""
        with self._translating(target) as client:
            try:
                client.rename(_path(source), _path(target), overwrite=True)
            except FileNotFoundError:
                if self.exists(source) or not self.exists(target):
                    raise

    @retried
    def remove(self, path: str) -> None:
        """Remove a file or a whole folder."""
        with self._translating(path) as client, contextlib.suppress(FileNotFoundError):
            client.delete(_path(path), recursive=True)


def _entry(path: str, status: Any) -> Entry:
    return Entry(path, bool(status.isdir), int(status.length), int(status.modification_time) * 1_000_000)
