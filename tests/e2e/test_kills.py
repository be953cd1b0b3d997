"""Killed after each stage's work and before its commit, and run again: as if nothing had happened."""

from pathlib import Path

import pytest

from pipelines.storage import Store
from pipelines.tables import CLEAN, PREDICTIONS
from tests.e2e.commands import metrics_of, rows_digest, run_command
from tests.e2e.conftest import ROWS
from tests.made_up import write_product

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

KILLED = -9


def test_a_killed_product_ends_like_an_undisturbed_one(tmp_path: Path, made: Store) -> None:
    write_product(tmp_path, ROWS)
    store = Store(str(tmp_path / "millrace-store"))
    for point in ("ingest.before_commit", "train.before_publish", "score.before_commit"):
        killed = run_command(tmp_path, "millrace", "run", "shapes.yaml", fail=f"{point}=kill9")
        assert killed.code == KILLED, killed.err
    done = run_command(tmp_path, "millrace", "run", "shapes.yaml")
    assert done.code == 0, done.err
    # What the killed runs had committed stands; what they had not is made once.
    assert [s["outcome"] for s in done.result["stages"]] == ["already_committed", "already_committed", "committed"]
    assert rows_digest(store, "shapes", CLEAN) == rows_digest(made, "shapes", CLEAN)
    own = ("run_id", "model_digest", "logical_date", "scored_at")
    assert rows_digest(store, "shapes", PREDICTIONS, own) == rows_digest(made, "shapes", PREDICTIONS, own)
    assert metrics_of(store, "shapes") == metrics_of(made, "shapes")
