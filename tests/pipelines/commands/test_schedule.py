"""``millrace schedule``: what it shows, and what it says of mistakes."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from millrace.storage import Store
from pipelines.commands.cli import app
from pipelines.schedule.log import Ended, Log, Watched
from tests.millrace.products import PRODUCT

SCHEDULE = "schedule:\n  daily: {cron: 30 2 * * *, timezone: America/New_York, stages: [score]}\n"


def invoke(folder: Path, command: str, *arguments: str, schedule: str = SCHEDULE) -> Result:
    path = folder / "trips.yaml"
    path.write_text(PRODUCT + schedule)
    store = f"store.root={folder / 'store'}"
    return CliRunner().invoke(app, ["schedule", command, str(path), "--set", store, *arguments])


def result(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.stderr
    parsed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return parsed


def test_list(tmp_path: Path) -> None:
    done = invoke(tmp_path, "list")
    (entry,) = result(done)["entries"]
    assert (entry["name"], entry["cron"], entry["timezone"]) == ("daily", "30 2 * * *", "America/New_York")
    assert datetime.fromisoformat(entry["next"]) > datetime.now(UTC)
    assert "02:30" in done.stderr or "03:00" in done.stderr


def test_next(tmp_path: Path) -> None:
    log = Log(Store(str(tmp_path / "store")), "trips", "daily")
    tick = datetime(2026, 3, 8, 7, tzinfo=UTC)
    log.append(Watched(at=tick - timedelta(days=1)), 0)
    log.append(Ended(at=tick, tick=tick, stage="score", outcome="waiting", reason="there is no table 'trips/clean'"), 1)
    done = invoke(tmp_path, "next", "--count", "2")
    (entry,) = result(done)["entries"]
    assert len(entry["next"]) == 2
    (past,) = entry["past"]
    assert (past["tick"], past["outcome"], past["attempts"]) == ("2026-03-08T07:00Z", "waiting", 0)
    assert "Sun 2026-03-08 03:00" in done.stderr
    assert "there is no table 'trips/clean'" in done.stderr


@pytest.mark.parametrize("command", ["list", "next", "run"])
def test_there_is_no_schedule(command: str, tmp_path: Path) -> None:
    done = invoke(tmp_path, command, schedule="")
    assert done.exit_code == 78
    assert "there is no schedule in it" in done.stderr


def test_run_tells_what_is_missing_before_anything_is_due(tmp_path: Path) -> None:
    missing = tmp_path / "code.zip"
    done = invoke(tmp_path, "run", "--py-files", str(missing))
    assert done.exit_code == 78
    assert f"needs {missing}, which is not there" in done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["stage"], last["product"], last["outcome"]) == ("schedule", "trips", "ended")
