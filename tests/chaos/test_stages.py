"""Short form of ``make chaos``: one fault of each kind, on the local disk where that is possible."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from chaos import daemons, races
from chaos.goals import Goal
from chaos.workspace import ROWS, Workspace
from pipelines.hadoop.cluster import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def check(goals: Iterable[Goal]) -> None:
    missed = [goal for goal in goals if not goal.is_reached]
    assert missed == []


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The golden workspace: its clean table comes from an ingest without faults."""
    folder = tmp_path_factory.mktemp("golden")
    workspace = Workspace(folder, str(folder / "store"))
    workspace.write(ROWS)
    done = workspace.run("ingest")
    assert done.code == 0, done.err
    return workspace


def test_a_resumed_zombie_replaces_nothing(tmp_path: Path) -> None:
    check(races.zombies(Workspace(tmp_path, str(tmp_path / "store")), ("ingest.before_commit",)))


def test_appends_at_the_same_moment(tmp_path: Path) -> None:
    check(races.append_races(Workspace(tmp_path / "p", str(tmp_path / "store")), rounds=8))


def test_readers_during_writes(tmp_path: Path) -> None:
    check(races.readers(Workspace(tmp_path, str(tmp_path / "store")), count=2, commits=30))


@pytest.mark.hdfs
def test_a_stage_waits_for_the_namenode(hdfs: Cluster, golden: Workspace, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, f"{hdfs.hdfs}/down", hdfs)
    check(daemons.namenode_down(workspace, golden, hdfs, {"ingest.before_commit": 5.0}))
