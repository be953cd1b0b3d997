"""Which failpoints a run reaches, and a worker that is killed at one of them."""

import shutil
from pathlib import Path

import pytest

from millrace.failpoints import FAILPOINTS, fired
from millrace.storage import Store
from tests.e2e.commands import run_command
from tests.e2e.conftest import ROWS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

FIRED_ELSEWHERE = {
    "append.before_rename": "tests/millrace/storage/test_records.py",
    "append.after_rename": "tests/millrace/storage/test_records.py",
    "cache.before_rename": "tests/millrace/models/test_store.py",
    "schedule.before_start": "tests/pipelines/schedule/test_runner.py",
    "schedule.after_start": "tests/pipelines/schedule/test_runner.py",
    "schedule.before_outcome": "tests/pipelines/schedule/test_runner.py",
    "transfer.part_done": "tests/pipelines/transfer/test_chunks.py",
    "transfer.before_rename": "tests/pipelines/transfer/test_chunks.py",
}
"""Failpoints that a run on a local store does not reach, and the tests that fire them."""


def test_a_run_reaches_every_failpoint(home: Path, made: Store) -> None:
    reached = {name for name, _ in fired(home / "fired")}
    assert reached | FIRED_ELSEWHERE.keys() == FAILPOINTS.keys()
    assert not reached & FIRED_ELSEWHERE.keys()


def test_a_killed_worker_is_replaced_and_reported(home: Path, made: Store, tmp_path: Path) -> None:
    folder = tmp_path / "home"
    shutil.copytree(home, folder)
    fault = {"fail": "score.before_batch=once:kill9", "MILLRACE_FAIL_LOG": str(folder / "worker")}
    done = run_command(folder, "millrace", "score", "shapes.yaml", "--date", "2030-01-01", **fault)
    assert done.code == 0, done.err
    assert (folder / "worker").read_text().startswith("score.before_batch ")
    assert done.result["rows_out"] == ROWS
    assert done.result["details"]["failed_tasks"] >= 1
    assert "tasks failed and were retried" in done.err
