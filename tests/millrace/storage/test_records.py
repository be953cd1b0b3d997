"""The log of records: one winner a number, whatever happens in the middle, on a local disk and on HDFS."""

import time
from pathlib import Path

import pytest

from chaos import appends
from chaos.workspace import Workspace
from millrace.errors import ArtifactNotFound, ConfigError, StorageError
from millrace.storage import Lost, Store, Won, cas_append, read_record, record_numbers
from millrace.storage.records import name_of
from pipelines.hadoop.cluster import Cluster

LOG = ("models", "m", "_log")


def test_one_wins_and_the_other_learns_by_whom(store: Store) -> None:
    assert record_numbers(store, LOG) == []
    assert cas_append(store, LOG, 0, b"mine") == Won(0)
    assert cas_append(store, LOG, 0, b"theirs") == Lost(0, b"mine")
    assert cas_append(store, LOG, 0, b"mine") == Lost(0, b"mine")  # another append, though it says the same
    assert cas_append(store, LOG, 1, b"two\nlines") == Won(1)
    assert read_record(store, LOG, 1) == b"two\nlines"
    assert record_numbers(store, LOG) == [0, 1]
    assert len(store.files.names(store.uri(*LOG))) == 2


def test_a_record_that_is_not_there(store: Store) -> None:
    with pytest.raises(ArtifactNotFound, match=r"record|file"):
        read_record(store, LOG, 7)


@pytest.mark.parametrize("number", [-1, 10**20])
def test_what_is_no_number(number: int) -> None:
    with pytest.raises(ValueError, match="not a record number"):
        name_of(number)


def test_a_killed_writer_leaves_all_or_nothing(store: Store, tmp_path: Path) -> None:
    goals = list(appends.killed(Workspace(tmp_path / "killed", store.root)))
    assert [goal for goal in goals if not goal.is_reached] == []


def test_a_rename_whose_reply_is_lost_is_won(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, real, calls = type(store.files), type(store.files).rename_new, list[str]()

    def lost(files: object, source: str, target: str) -> None:
        real(files, source, target)  # type: ignore[arg-type] # of either file system
        calls.append(source)
        raise ConnectionResetError("the reply is lost")

    monkeypatch.setattr(kind, "rename_new", lost)
    assert cas_append(store, LOG, 0, b"mine") == Won(0)
    assert len(calls) == 1
    assert read_record(store, LOG, 0) == b"mine"


def test_a_storage_that_stays_away_is_told_in_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(type(store.files), "open_output", away)
    started = time.monotonic()
    with pytest.raises(StorageError, match="Connection refused"):
        cas_append(store, LOG, 0, b"mine", wait_s=1)
    assert time.monotonic() - started < 20


def test_no_permission_is_not_tried_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    def denied(*arguments: object) -> None:
        calls.append(arguments)
        raise PermissionError(13, "denied")

    monkeypatch.setattr(type(store.files), "open_output", denied)
    with pytest.raises(ConfigError, match="no permission"):
        cas_append(store, LOG, 0, b"mine", wait_s=60)
    assert len(calls) == 1


def test_of_many_processes_one_wins_each_number(store: Store, tmp_path: Path) -> None:
    goals = list(appends.on_local_disk(Workspace(tmp_path / "race", store.root), appends=10))
    assert [goal for goal in goals if not goal.is_reached] == []


@pytest.mark.hdfs
def test_one_winner_while_replies_are_lost_and_the_namenode_restarts(hdfs: Cluster, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "race", f"{hdfs.hdfs}/g3")
    goals = list(appends.on_hdfs(workspace, hdfs, appends=10, drop=0.02, restart_every_s=4))
    assert [goal for goal in goals if not goal.is_reached] == []
