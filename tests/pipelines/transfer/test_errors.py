"""Every trouble is one line with address, path and user, and the right kind of error."""

import socket

import pytest
import requests
from hdfs import HdfsError

from millrace.config.sections.profile import Transfer
from millrace.errors import ConfigError, InputMissing, MillraceError, Refused, StorageError
from pipelines.hadoop.cluster import Cluster
from pipelines.transfer import connect
from pipelines.transfer.errors import Interrupted, translated
from tests.pipelines.transfer.conftest import Stranger


@pytest.mark.parametrize(
    ("exception", "kind"),
    [
        ("FileNotFoundException", InputMissing),
        ("FileAlreadyExistsException", Refused),
        ("AccessControlException", ConfigError),
        ("SecurityException", ConfigError),
        ("InvalidToken", ConfigError),
        ("InvalidPathException", ConfigError),
        ("DSQuotaExceededException", StorageError),
        ("NSQuotaExceededException", StorageError),
        ("SafeModeException", StorageError),
        ("StandbyException", Interrupted),
        ("IOException", StorageError),
        (None, ConfigError),
    ],
)
def test_what_hadoop_says(exception: str | None, kind: type[MillraceError]) -> None:
    error = translated(HdfsError("first\n\tat org.apache", exception=exception), "http://nn:1", "user 'bob'", "/a\nb")
    assert type(error) is kind
    assert str(error).startswith("http://nn:1: '/a\\nb' as user 'bob'")
    assert "\n" not in str(error)


def test_a_request_is_never_quoted() -> None:
    error = requests.ConnectionError("Max retries exceeded with url: /webhdfs/v1/?delegation=SECRET")
    assert "SECRET" not in str(translated(error, "http://nn:1", "x", "/"))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"<html>\n<h1>Not here</h1></html>"),
        (200, b"{}"),
        (200, b"hello"),
        (500, b'{"detail": "no"}'),
        (500, b'["RemoteException"]'),
        (401, b"who are you"),
    ],
)
def test_what_is_no_webhdfs_is_told_as_a_wrong_address(status: int, body: bytes, stranger: Stranger) -> None:
    stranger.status, stranger.body = status, body
    with pytest.raises(ConfigError, match=f"http://127.0.0.1:{stranger.port}: '/x' as user 'bob'") as caught:
        connect(Transfer(url=f"http://127.0.0.1:{stranger.port}", user="bob")).status("/x")
    assert "\n" not in str(caught.value)


def test_nobody_there() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        web = connect(Transfer(url=f"http://127.0.0.1:{nobody.getsockname()[1]}"))
        with pytest.raises(StorageError, match="Connection refused") as caught:
            web.status("/")
    assert "is the NameNode running" in caught.value.hint
    with pytest.raises(StorageError, match=r"no-such-host\.invalid"):
        connect(Transfer(url="http://no-such-host.invalid:9870")).status("/")


def test_a_server_that_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        web = connect(Transfer(url=f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.2))
        with pytest.raises(StorageError, match="no response in time"):
            web.status("/")


@pytest.mark.hdfs
def test_the_wrong_port_of_a_namenode(hdfs: Cluster) -> None:
    with pytest.raises(ConfigError, match="the server is not WebHDFS: It looks like you are making an HTTP"):
        connect(Transfer(url=hdfs.hdfs.replace("hdfs://", "http://"))).status("/")
    with pytest.raises(ConfigError, match="no secure connection"):
        connect(Transfer(url=hdfs.webhdfs.replace("http://", "https://"))).status("/")
