"""Short form of ``make chaos-serve``: bad requests, a bad request in a batch, SIGTERM, and killed processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.goals import Goal
from chaos.service import faults
from chaos.service.corpus import all_requests
from chaos.service.servers import fill_store, running

pytestmark = [pytest.mark.tf, pytest.mark.e2e]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile") / "store"
    fill_store(root)
    return root


def missed(goals: Iterator[Goal]) -> list[str]:
    """Return the goals that were missed, without those that depend on the speed of the machine."""
    return [f"{g.name}: {g.got} / {g.goal}: {g.reason}" for g in goals if not g.is_reached and not g.is_timed]


def test_hostile_requests(root: Path) -> None:
    assert len(all_requests()) >= 300
    with running(root) as server:
        assert missed(faults.hostile(server, all_requests(), "hand-written")) == []
        assert missed(faults.hostile(server, faults.generate(300, 7), "generated")) == []


def test_good_requests_in_a_batch_with_a_bad_one(root: Path) -> None:
    assert missed(faults.poison(root, rounds=30)) == []


def test_requests_in_flight_at_sigterm(root: Path) -> None:
    assert missed(faults.stopped(root, requests=10)) == []


def test_killed_processes(root: Path) -> None:
    assert missed(faults.killed(root, kills=2)) == []
