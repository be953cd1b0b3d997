"""No two transfers at once in one staging place, and none that waits for a dead one."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from millrace.config.sections.profile import Transfer
from millrace.errors import MillraceError, Refused, StorageError
from millrace.failpoints import ENVIRONMENT, FailpointFired
from pipelines.hadoop.cluster import Cluster
from pipelines.transfer import WebHdfs, connect, get, put
from pipelines.transfer.chunks import merge, split
from pipelines.transfer.staging import clear, locked, staging_name, take
from tests.pipelines.transfer.conftest import BLOCK
from tests.pipelines.transfer.test_webhdfs import read


def test_staging_names_are_plain_and_the_same_again() -> None:
    assert staging_name("put", "a,b\n/..") == staging_name("put", "a,b\n/..")
    assert staging_name("put", "a").startswith(".millrace-put-")
    assert {len(staging_name("put", name)) for name in ("", "x" * 500, "ü")} == {30}


HOLDER = """
import sys, time
from pathlib import Path
from pipelines.transfer.staging import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_local_place_is_held_until_its_holder_is_gone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline() == b"locked\n"
        try:
            with pytest.raises(Refused, match="is already running"), locked(tmp_path):
                pass
        finally:
            other.kill()
    with locked(tmp_path):
        pass


def test_split_and_merge_wait_for_nobody(tmp_path: Path) -> None:
    source = tmp_path / "x"
    source.write_bytes(bytes(range(250)))
    (tmp_path / staging_name("split", "y")).mkdir()
    with locked(tmp_path / staging_name("split", "y")), pytest.raises(Refused, match="is already running"):
        split(source, tmp_path / "y", chunk_size=100)
    split(source, tmp_path / "y", chunk_size=100)
    (tmp_path / staging_name("merge", "z")).touch()
    with locked(tmp_path / staging_name("merge", "z")), pytest.raises(Refused, match="is already running"):
        merge(tmp_path / "y", tmp_path / "z")
    merge(tmp_path / "y", tmp_path / "z")
    assert (tmp_path / "z").read_bytes() == source.read_bytes()


@pytest.mark.hdfs
def test_get_waits_for_nobody(web: WebHdfs, folder: str, source: Path, tmp_path: Path) -> None:
    web.create(f"{folder}/x", iter([source.read_bytes()]), BLOCK)
    staging = tmp_path / staging_name("get", "y")
    staging.mkdir()
    with locked(staging), pytest.raises(Refused, match="is already running"):
        get(web, f"{folder}/x", tmp_path / "y", force=False, workers=2)
    assert get(web, f"{folder}/x", tmp_path / "y", force=False, workers=2).outcome == "committed"
    assert not staging.exists()


@pytest.mark.hdfs
def test_a_place_in_hdfs_belongs_to_the_last_that_took_it(web: WebHdfs, folder: str) -> None:
    name = staging_name("put", "x")
    first = take(web, folder, name)
    web.create(f"{first}/block", iter([b"x"]), BLOCK)
    second = take(web, folder, name)
    assert second != first
    assert list(web.names(second)) == ["block"]
    with pytest.raises(StorageError, match="is gone"):
        web.rename_new(f"{first}/block", f"{folder}/x")
    clear(web, folder, name)
    assert web.names(folder) == {}


@pytest.mark.hdfs
def test_who_was_overtaken_commits_nothing(
    web: WebHdfs, hdfs: Cluster, folder: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins with other bytes while the first, all of it verified, is about to commit."""
    other = tmp_path / "other"
    other.write_bytes(source.read_bytes()[::-1])
    rename = web.rename_new

    def late(old: str, new: str) -> None:
        if new == f"{folder}/x":
            monkeypatch.undo()
            monkeypatch.setenv(ENVIRONMENT, "transfer.before_rename=raise")
            with pytest.raises(FailpointFired):
                put(connect(Transfer(url=hdfs.webhdfs)), other, new, force=False, workers=2, block_bytes=BLOCK)
            monkeypatch.undo()
        rename(old, new)

    monkeypatch.setattr(web, "rename_new", late)
    with pytest.raises(StorageError, match="is gone"):
        put(web, source, f"{folder}/x", force=False, workers=2, block_bytes=BLOCK)
    assert web.status(f"{folder}/x") is None
    assert put(web, other, f"{folder}/x", force=False, workers=2, block_bytes=BLOCK).sent == 0
    assert read(web, f"{folder}/x") == other.read_bytes()


@pytest.mark.hdfs
def test_three_at_once(hdfs: Cluster, web: WebHdfs, folder: str, source: Path) -> None:
    outcomes: list[object] = []

    def run(target: str) -> None:
        try:
            one = connect(Transfer(url=hdfs.webhdfs))
            outcomes.append(put(one, source, target, force=False, workers=2, block_bytes=BLOCK).outcome)
        except MillraceError as error:
            outcomes.append(error)

    for target in (f"{folder}/{number}" for number in range(3)):
        outcomes.clear()
        threads = [threading.Thread(target=run, args=[target]) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [each for each in outcomes if each in ("committed", "already")], outcomes
        assert read(web, target) == source.read_bytes()
        assert put(web, source, target, force=False, workers=2, block_bytes=BLOCK).outcome == "already"
    assert list(web.names(folder)) == ["0", "1", "2"]
