"""The short form of ``make chaos``: one of each kind of fault, on the store where it is cheap or the only one."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from chaos import daemons, rivals
from chaos.goals import Goal
from chaos.place import ROWS, Place
from pipelines.hadoop.cluster import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def check(goals: Iterable[Goal]) -> None:
    missed = [goal for goal in goals if not goal.held]
    assert missed == []


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The clean table of an undisturbed ingest."""
    folder = tmp_path_factory.mktemp("golden")
    place = Place(folder, str(folder / "store"))
    place.write(ROWS)
    done = place.run("ingest")
    assert done.code == 0, done.err
    return place


def test_a_run_that_stood_still_replaces_nothing(tmp_path: Path) -> None:
    check(rivals.zombies(Place(tmp_path, str(tmp_path / "store")), ("ingest.before_commit",)))


def test_appends_at_the_same_moment(tmp_path: Path) -> None:
    check(rivals.append_races(Place(tmp_path / "p", str(tmp_path / "store")), rounds=8))


def test_readers_beside_a_writer(tmp_path: Path) -> None:
    check(rivals.readers(Place(tmp_path, str(tmp_path / "store")), count=2, commits=30))


@pytest.mark.hdfs
def test_a_stage_waits_for_the_namenode(hdfs: Cluster, golden: Place, tmp_path: Path) -> None:
    place = Place(tmp_path, f"{hdfs.hdfs}/away", hdfs)
    check(daemons.namenode_away(place, golden, hdfs, {"ingest.before_commit": 5.0}))
