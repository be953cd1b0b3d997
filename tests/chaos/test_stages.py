"""Short form of ``make chaos``: one fault of each kind on the local disk."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from chaos import races
from chaos.goals import Goal
from chaos.workspace import Workspace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def check(goals: Iterable[Goal]) -> None:
    missed = [goal for goal in goals if not goal.is_reached]
    assert missed == []


def test_a_resumed_zombie_replaces_nothing(tmp_path: Path) -> None:
    check(races.zombies(Workspace(tmp_path, str(tmp_path / "store")), ("ingest.before_commit",)))


def test_appends_at_the_same_moment(tmp_path: Path) -> None:
    check(races.append_races(Workspace(tmp_path / "p", str(tmp_path / "store")), rounds=8))


def test_readers_during_writes(tmp_path: Path) -> None:
    check(races.readers(Workspace(tmp_path, str(tmp_path / "store")), count=2, commits=30))
