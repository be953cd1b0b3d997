"""Real daemons: found again, killed, restarted with their data, and gone with whoever started them."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from millrace.errors import ArtifactNotFound, Unavailable
from millrace.storage import Store
from pipelines.hadoop import service
from pipelines.hadoop.cluster import STATE, Cluster
from pipelines.hadoop.layout import Size

pytestmark = pytest.mark.hdfs

ROOT = Path(__file__).parents[3]


def test_another_process_finds_it_by_its_folder(hdfs: Cluster) -> None:
    found = Cluster(hdfs.folder)
    assert found.hdfs == hdfs.hdfs
    assert found.status() == {"namenode": "works", **{f"datanode-{n}": "works" for n in (1, 2, 3)}}
    assert found.webhdfs.startswith("http://127.0.0.1:")


def test_clients_find_it_by_its_configuration(hdfs: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HADOOP_CONF_DIR", hdfs.env["HADOOP_CONF_DIR"])
    Store("hdfs:///found").put(b"x", "y")
    assert Store(f"{hdfs.hdfs}/found").read("y") == b"x"


def test_a_killed_namenode_comes_back_with_its_data(hdfs: Cluster) -> None:
    store = Store(f"{hdfs.hdfs}/kept")
    store.put(b"kept", "x")
    hdfs.kill("namenode")
    assert hdfs.status()["namenode"] == "down"
    with pytest.raises(ArtifactNotFound, match="running daemon"):
        hdfs.kill("namenode")
    hdfs.restart("namenode", tied=True)
    assert store.read("x") == b"kept"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Cluster]:
    """A NameNode and a DataNode of its own, not started."""
    cluster = Cluster(tmp_path / "cluster")
    yield cluster
    cluster.stop()


def namenode_state(cluster: Cluster) -> str:
    url = f"{cluster.webhdfs}/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState"
    with urlopen(url) as answer:  # noqa: S310 - our own
        return str(json.load(answer)["beans"][0]["FSState"])


@pytest.mark.case("D1")
def test_a_namenode_with_blocks_works_before_its_datanodes_start(small: Cluster) -> None:
    """In containers, DataNodes start when the NameNode's health check succeeds. It must not wait for them."""
    small.start(Size(datanodes=1, yarn=False, spark_workers=0), tied=True)
    for number in range(3):  # one block could be missing: 0.999 of the blocks are waited for, rounded down
        Store(f"{small.hdfs}/").put(b"x", f"kept-{number}")
    small.stop()
    namenode = small.members["namenode"]
    small.members["namenode"] = replace(namenode, env={**namenode.env, "DATANODES": "0"})
    small.restart("namenode", tied=True, timeout_s=30)
    assert namenode_state(small) == "safeMode"
    small.members["namenode"] = replace(small.members["namenode"], env=namenode.env)
    assert small.status()["namenode"] == "starting"  # where a DataNode is wanted, safe mode does not count as working
    small.restart("datanode-1", tied=True)
    small.wait()
    assert Store(f"{small.hdfs}/").read("kept-0") == b"x"


@pytest.mark.case("D1")
def test_a_namenode_whose_first_start_was_interrupted(small: Cluster) -> None:
    """Formatting a NameNode that was formatted in part would be refused at each later start."""
    current = small.folder / "namenode" / "namenode" / "current"
    current.mkdir(parents=True)
    (current / "VERSION").write_text("layoutVersion=-66\n")
    small.start(Size(datanodes=1, yarn=False, spark_workers=0), tied=True)
    Store(f"{small.hdfs}/").put(b"x", "kept")
    small.stop()
    small.start(tied=True)  # with an image, it is not formatted again
    assert Store(f"{small.hdfs}/").read("kept") == b"x"


def test_a_namenode_with_data_in_another_folder_is_not_formatted(
    small: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration may name another folder than the one below HADOOP_DATA: what is in it must survive."""
    small.start(Size(datanodes=1, yarn=False, spark_workers=0), tied=True)
    Store(f"{small.hdfs}/").put(b"x", "kept")
    small.stop()
    env = small.members["namenode"].env
    conf = tmp_path / "conf"
    shutil.copytree(service.CONF, conf)
    site = conf / "hdfs-site.xml"
    site.write_text(
        site.read_text().replace("${env.HADOOP_DATA:-/hadoop/data}/namenode", f"{env['HADOOP_DATA']}/namenode")
    )
    with monkeypatch.context() as patch:
        patch.setattr(service, "CONF", conf)
        with pytest.raises(subprocess.CalledProcessError):
            service.SERVICES["namenode"].prepare({**os.environ, **env, "HADOOP_DATA": str(tmp_path / "elsewhere")})
    small.start(tied=True)
    assert Store(f"{small.hdfs}/").read("kept") == b"x"


@pytest.mark.case("K2")
def test_a_cluster_of_an_earlier_version_keeps_its_ports(tmp_path: Path, hdfs: Cluster) -> None:
    state = (hdfs.folder / STATE).read_text()
    assert "_PORT_NUMBER" in state
    (tmp_path / STATE).write_text(state.replace("_PORT_NUMBER", "_PORT"))
    assert Cluster(tmp_path).hdfs == hdfs.hdfs
    assert Cluster(tmp_path).members == hdfs.members


def silent_datanodes(hdfs: Cluster) -> int:
    """DataNodes that the NameNode has not heard of for some seconds, and gives no new blocks to."""
    with urlopen(f"{hdfs.webhdfs}/jmx?qry=Hadoop:service=NameNode,name=FSNamesystem") as answer:  # noqa: S310 - our own
        return int(json.load(answer)["beans"][0]["StaleDataNodes"])


def test_a_lost_datanode_loses_no_data(hdfs: Cluster) -> None:
    store = Store(f"{hdfs.hdfs}/replicated")
    store.put(b"before", "x")
    hdfs.kill("datanode-2")
    try:
        assert store.read("x") == b"before"
        while not silent_datanodes(hdfs):
            continue
        store.put(b"during", "y")
    finally:
        hdfs.restart("datanode-2", tied=True)
    assert store.read("y") == b"during"


def test_names_that_are_not_there(tmp_path: Path, hdfs: Cluster) -> None:
    with pytest.raises(ArtifactNotFound, match="no daemon 'datanode-9'") as caught:
        hdfs.kill("datanode-9")
    assert "datanode-3" in caught.value.hint
    with pytest.raises(ArtifactNotFound) as caught:
        _ = Cluster(tmp_path / "a b").hdfs
    assert f"millrace hadoop up --folder '{tmp_path}/a b'" in caught.value.hint


def test_a_daemon_that_cannot_start_is_told_with_its_log(tmp_path: Path, hdfs: Cluster) -> None:
    (tmp_path / STATE).write_text((hdfs.folder / STATE).read_text().replace(str(hdfs.folder), str(tmp_path)))
    twin = Cluster(tmp_path)
    for name, member in list(twin.members.items()):
        twin.members[name] = type(member)(member.name, member.service, member.env)
    with pytest.raises(Unavailable, match=r"(name|data)node.* ended") as caught:
        twin.start(timeout_s=40)
    assert ".log: " in caught.value.hint
    assert "in use" in caught.value.hint
    assert set(twin.status().values()) == {"down"}
    assert hdfs.status()["namenode"] == "works"


START = """
import sys
from pathlib import Path
from pipelines.hadoop.cluster import Cluster
from pipelines.hadoop.layout import Size
Cluster(Path(sys.argv[1])).start(Size(datanodes=1, yarn=False, spark_workers=0), tied=True)
print("up", flush=True)
sys.stdin.read()
"""


def test_daemons_end_with_a_starter_that_is_killed(tmp_path: Path) -> None:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", START, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "up\n"
        found = [process for member in Cluster(tmp_path).members.values() if (process := member.process())]
        assert len(found) == 2
        starter.kill()
    _, left = psutil.wait_procs(found, 10)
    assert left == []


def test_what_is_stopped_is_gone_and_starts_again(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipelines.commands.cli", "hadoop", *arguments]
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)

    folder = ("--folder", str(tmp_path / "cluster"))
    try:
        up = run("up", *folder, "--datanodes", "1", "--no-yarn", "--no-spark")
        assert up.returncode == 0, up.stderr
        assert "namenode works: http://127.0.0.1:" in up.stderr
        again = run("up", *folder)
        assert again.stdout == up.stdout
        exported = run("env", *folder).stdout
        assert exported == f"export HADOOP_CONF_DIR={tmp_path / 'cluster' / 'conf'}\n"
        cluster = Cluster(tmp_path / "cluster")
        Store(f"{cluster.hdfs}/").put(b"x", "kept")
        cluster.kill("datanode-1", signal.SIGSTOP)  # stopping must not hang on one that does not listen
        assert run("down", *folder).returncode == 0
        assert set(cluster.status().values()) == {"down"}
        assert run("status", *folder).returncode == 75
        assert run("up", *folder).returncode == 0
        assert Store(f"{cluster.hdfs}/").read("kept") == b"x"
    finally:
        run("down", *folder)
    assert set(Cluster(tmp_path / "cluster").status().values()) == {"down"}
