"""A short form of ``make chaos-serve``: the corpus, neighbours of bad requests, kill -9 of a model's process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.goals import Goal
from chaos.service import faults
from chaos.service.corpus import all_requests
from chaos.service.place import fill, running

pytestmark = [pytest.mark.tf, pytest.mark.e2e]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile") / "store"
    fill(root)
    return root


def missed(goals: Iterator[Goal]) -> list[str]:
    """The goals that were missed, without those that depend on the speed of the machine."""
    return [f"{g.fault}: {g.got} / {g.goal}: {g.why}" for g in goals if not g.held and not g.is_timed]


def test_hostile_requests(root: Path) -> None:
    assert len(all_requests()) >= 300
    with running(root) as server:
        assert missed(faults.hostile(server, all_requests(), "by hand")) == []
        assert missed(faults.hostile(server, faults.generate(300, 7), "generated")) == []


def test_neighbours_of_a_bad_request(root: Path) -> None:
    assert missed(faults.poison(root, rounds=30)) == []


def test_requests_in_flight_at_sigterm(root: Path) -> None:
    assert missed(faults.stopped(root, requests=10)) == []


def test_killed_processes(root: Path) -> None:
    assert missed(faults.killed(root, kills=2)) == []
