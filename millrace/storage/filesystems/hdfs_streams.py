"""Files of HDFS as Python streams, which continue after a broken connection."""

import errno
import io
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from millrace.retry import NO_RETRY, RetryPolicy, retried
from millrace.storage.filesystems.hadoop_errors import translated

SYNC_TIMEOUT_S: Final = 30.0
"""How long DataNodes may take to write a file's last packets to their disks."""


class Input(io.RawIOBase):
    """A file for reading. After a temporary error it is opened again, and reading continues at the same position.

    Args:
        open_again: Opens the client's own reader.
        authority: The NameNode, for messages.
        path: The path, for messages.
        retry: Policy for each read.
    """

    def __init__(self, open_again: Callable[[], Any], authority: str, path: str, retry: RetryPolicy = NO_RETRY) -> None:
        super().__init__()
        self.retry = retry
        self._open, self._location = open_again, (authority, path)
        self._inner = open_again()
        self._position, self._is_broken = 0, False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._inner.seek(offset, whence)
        self._position = int(self._inner.tell())
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    @retried
    def _read(self, count: int) -> bytes:
        if self._is_broken:
            self._inner, self._is_broken = self._open(), False
            self._inner.seek(self._position)
        try:
            return bytes(self._inner.read(count))
        except (RuntimeError, OSError) as error:
            self._is_broken = True
            raise translated(error, *self._location) from error


class Output(io.RawIOBase):
    """A new file. Once it is closed, its blocks are on the DataNodes' disks.

    Args:
        inner: The client's own writer.
        authority: The NameNode, for messages.
        path: The path, for messages.
    """

    def __init__(self, inner: Any, authority: str, path: str) -> None:
        super().__init__()
        self._inner, self._location = inner, (authority, path)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        try:
            return int(self._inner.write(data))
        except (RuntimeError, OSError) as error:
            raise translated(error, *self._location) from error

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        try:
            self._sync()
            self._inner.close()
        except (RuntimeError, OSError) as error:
            raise translated(error, *self._location) from error

    def _sync(self) -> None:
        """Let the DataNodes flush the file to their disks.

        hdfs-native 0.14.7 waits forever if the second DataNode of a pipeline dies before it responds. So another thread
        waits, and after the timeout this raises an error that makes the caller write the file again.
        """
        done: Future[None] = Future()

        def sync() -> None:
            try:
                done.set_result(self._inner.hsync())
            except BaseException as error:  # a panic of the client is not an Exception
                done.set_exception(error)

        threading.Thread(target=sync, name="hsync", daemon=True).start()
        try:
            done.result(SYNC_TIMEOUT_S)
        except TimeoutError:
            authority, path = self._location
            message = f"hdfs://{authority}: no DataNode has responded for {SYNC_TIMEOUT_S:.0f} s"
            raise OSError(errno.ETIMEDOUT, message, path) from None
