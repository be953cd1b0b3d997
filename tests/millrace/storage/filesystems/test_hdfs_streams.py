"""Streams over the client's readers and writers, whatever these do."""

import errno
import io
import threading

import pytest

from millrace.retry import RetryPolicy, is_temporary
from millrace.storage.filesystems import hdfs_streams
from millrace.storage.filesystems.hdfs_streams import Input, Output

PLACE = ("namenode:8020", "hdfs://namenode:8020/m/x")


class Stuck:
    """A writer whose second DataNode is dead: hdfs-native waits for its answer for ever."""

    closed = False

    def hsync(self) -> None:
        threading.Event().wait(60)

    def close(self) -> None:
        self.closed = True


def test_datanodes_that_never_answer_are_waited_for_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdfs_streams, "SYNC_TIMEOUT_S", 0.05)
    inner = Stuck()
    with pytest.raises(TimeoutError, match="hdfs://namenode:8020: no DataNode has responded") as caught:
        Output(inner, *PLACE).close()
    assert (caught.value.errno, caught.value.filename) == (errno.ETIMEDOUT, PLACE[1])
    assert is_temporary(caught.value)
    assert not inner.closed


class Refusing:
    """A writer that may not."""

    def hsync(self) -> None:
        raise RuntimeError('RPCError("org.apache.hadoop.security.AccessControlException", "denied")')


def test_what_goes_wrong_in_the_other_thread_is_told() -> None:
    with pytest.raises(PermissionError, match="denied"):
        Output(Refusing(), *PLACE).close()


class Breaking(io.BytesIO):
    """A reader whose connection breaks once in the middle."""

    broken = False

    def read(self, count: int | None = -1) -> bytes:
        if self.tell() >= 4 and not Breaking.broken:
            Breaking.broken = True
            raise RuntimeError("Connection reset by peer (os error 104)")
        return super().read(min(4, count or 0))


def test_reading_continues_at_its_position() -> None:
    with io.BufferedReader(Input(lambda: Breaking(b"0123456789"), *PLACE, RetryPolicy(10))) as file:
        assert file.read() == b"0123456789"
    assert Breaking.broken
