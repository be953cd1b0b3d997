"""HDFS: every trouble is one line with the address and what to do, in seconds."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from millrace.errors import ConfigError, StorageError
from millrace.storage import Store
from millrace.storage.filesystems.hdfs import full_root
from pipelines.hadoop.cluster import Cluster
from tests.millrace.storage.proxy import DroppingProxy

SITE = "<configuration><property><name>fs.defaultFS</name><value>{}</value></property></configuration>"


def test_a_root_without_a_host_is_the_default_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "core-site.xml").write_text(SITE.format("hdfs://nn:9000/"))
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    assert full_root("hdfs:///millrace/") == "hdfs://nn:9000/millrace"
    assert full_root("hdfs://other/millrace") == "hdfs://other/millrace"


@pytest.mark.parametrize(
    ("site", "message"),
    [
        (None, "HADOOP_CONF_DIR is not set"),
        ("", "core-site.xml cannot be read"),
        ("<configuration/>", "fs.defaultFS in .* is ''"),
        (SITE.format("file:///"), "is 'file:///', not hdfs"),
    ],
)
def test_no_host_to_be_found(site: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    if site is not None:
        (tmp_path / "core-site.xml").write_text(site)
        monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    with pytest.raises(ConfigError, match=message):
        Store("hdfs:///millrace")


def test_a_namenode_that_is_not_there() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        store = Store(f"hdfs://127.0.0.1:{nobody.getsockname()[1]}/millrace")
        with pytest.raises(StorageError, match=r"hdfs://127\.0\.0\.1:\d+: Connection refused") as caught:
            store.names("models")
    assert "is the NameNode running" in caught.value.hint


@pytest.mark.hdfs
def test_a_lost_reply_is_no_failure(hdfs: Cluster, tmp_path: Path) -> None:
    """Each step may have been done already when it is asked for again."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "x").write_bytes(b"x" * 5000)
    with DroppingProxy(hdfs.hdfs.removeprefix("hdfs://"), drop=0.15, seed=2) as proxy:
        store = Store(f"hdfs://{proxy.address}/replies", wait_s=120)
        for number in range(2):
            store.put(b"%d" % number, "one")
            store.put_new(b"%d" % number, "new", str(number))
            store.publish_folder(tmp_path / "model", "models", str(number))
            assert store.read("one") == store.read("new", str(number)) == b"%d" % number
        assert proxy.dropped > 1
        assert len(store.names("new")) == len(store.names("models")) == 2
    assert {len(Store(f"{hdfs.hdfs}/replies").read("models", str(n), "x")) for n in range(2)} == {5000}


NO_SUCH_HOST = "hdfs://no-such-host.invalid:8020/millrace"


def test_a_host_that_nobody_knows() -> None:
    with pytest.raises(StorageError, match=r"no-such-host\.invalid"):
        Store(NO_SUCH_HOST).read("runs")


@pytest.mark.hdfs
def test_another_user_is_told_who_may_not(hdfs: Cluster) -> None:
    code = "import sys; from millrace.storage import Store; Store(sys.argv[1]).put(b'', 'runs', 'x')"
    command = [sys.executable, "-c", code, f"{hdfs.hdfs}/"]
    env = {**os.environ, "HADOOP_USER_NAME": "bob"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert "ConfigError: no permission for hdfs://" in done.stderr
    assert "user=bob, access=WRITE" in done.stderr


@pytest.mark.hdfs
def test_a_quota_that_is_full(hdfs: Cluster) -> None:
    store = Store(f"{hdfs.hdfs}/quota")
    store.put(b"", "runs", "x")
    hdfs.admin("-setSpaceQuota", "1m", "/quota")
    with pytest.raises(StorageError, match=r"[Qq]uota") as caught:
        store.put(b"x" * (4 << 20), "runs", "y")
    assert "quota" in caught.value.hint


@pytest.mark.hdfs
def test_safe_mode(hdfs: Cluster) -> None:
    store = Store(f"{hdfs.hdfs}/safe")
    hdfs.admin("-safemode", "enter")
    try:
        with pytest.raises(StorageError, match="safe mode") as caught:
            store.put(b"", "runs", "x")
    finally:
        hdfs.admin("-safemode", "leave")
    assert "wait" in caught.value.hint
    store.put(b"", "runs", "x")


KEPT_S = 3.5
"""hdfs-native keeps an idle connection to a DataNode for 3 s, also where a child would wait for ever on it."""


@pytest.mark.hdfs
def test_a_client_goes_on_in_a_forked_process(hdfs: Cluster) -> None:
    store = Store(f"{hdfs.hdfs}/forked")
    store.put(b"parent", "x")
    assert store.read("x") == b"parent"
    time.sleep(KEPT_S)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if store.read("x") == b"parent" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
