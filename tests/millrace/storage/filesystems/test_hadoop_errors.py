"""The words of Hadoop and of its client, as errors with numbers."""

import errno

import pytest

from millrace.storage.filesystems.hadoop_errors import translated

WHERE = ("namenode:8020", "hdfs://namenode:8020/m/x")


@pytest.mark.parametrize(
    ("said", "kind", "number"),
    [
        ('RPCError("org.apache.hadoop.security.AccessControlException", "denied\\n\\tat x")', PermissionError, None),
        ('RPCError("org.apache.hadoop.hdfs.server.namenode.SafeModeException", "off")', OSError, errno.EAGAIN),
        ('RPCError("o.a.h.hdfs.protocol.DSQuotaExceededException", "full")', OSError, errno.EDQUOT),
        ("Connection refused (os error 111)", ConnectionRefusedError, errno.ECONNREFUSED),
        ("Connection reset by peer (os error 104)", ConnectionResetError, errno.ECONNRESET),
        ("RPC listener disconnected", ConnectionResetError, errno.ECONNRESET),
        ("Failed to complete file in time", TimeoutError, errno.ETIMEDOUT),
        ("could only be written to 0 of the 1 minReplication nodes", BlockingIOError, errno.EAGAIN),
        ("something new", OSError, errno.EIO),
    ],
)
def test_each_has_its_class_and_number(said: str, kind: type[OSError], number: int | None) -> None:
    error = translated(RuntimeError(said), *WHERE)
    assert isinstance(error, kind)
    assert error.errno == number
    assert "\n" not in str(error)


def test_an_error_with_a_number_stays_as_it_is() -> None:
    error = ConnectionResetError(errno.ECONNRESET, "x")
    assert translated(error, *WHERE) is error


def test_a_missing_file_has_its_path() -> None:
    error = translated(FileNotFoundError("no such file"), *WHERE)
    assert (error.errno, error.filename) == (errno.ENOENT, WHERE[1])


def test_what_hadoop_says_without_its_stack() -> None:
    text = 'RPCError("org.apache.hadoop.X", "Permission \\"a\\" denied\\n\\tat org.apache.hadoop.Y")'
    error = translated(RuntimeError(text), "h:1", "hdfs://h:1/a")
    assert (error.errno, error.strerror) == (errno.EIO, 'hdfs://h:1: Permission "a" denied')


def test_what_is_known_of_each_datanode_is_left_out() -> None:
    text = 'DataTransferError("All DataNodes failed: [DatanodeInfoProto { id: DatanodeIdProto { ip_addr: x } }]")'
    error = translated(RuntimeError(text), *WHERE)
    assert error.errno == errno.EAGAIN
    assert str(error.strerror).endswith("All DataNodes failed")
