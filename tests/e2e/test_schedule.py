"""Scheduled scoring with the real spark-submit: a scheduler that is killed during a run, and a run that hangs."""

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from millrace.storage import Store
from millrace.tables.versions import PREDICTIONS
from pipelines.schedule.log import Ended, Log, Started, Watched
from pipelines.schedule.processes import processes_of
from tests.e2e.commands import BIN, ROOT, rows_digest, run_command
from tests.e2e.conftest import ROWS
from tests.made_up import PRODUCT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

SCHEDULE = "schedule:\n  {name}: {{cron: '{cron}', timezone: UTC, stages: [score], deadline_s: {deadline}}}\n"


@pytest.fixture
def folder(home: Path, made: Store, tmp_path: Path) -> Path:
    """A copy of the finished product whose rows are not scored yet."""
    shutil.copytree(home, tmp_path / "home")
    shutil.rmtree(tmp_path / "home" / "millrace-store" / "tables" / "shapes" / PREDICTIONS)
    return tmp_path / "home"


@contextmanager
def scheduler(folder: Path, name: str, fail: str = "") -> "Iterator[subprocess.Popen[bytes]]":
    """``millrace schedule run`` of a product file, killed at the end of the block."""
    command = [str(BIN / "millrace"), "schedule", "run", f"{name}.yaml", "--set", "spark.master=local[1]"]
    environment = {**os.environ, "MILLRACE_FAIL": fail, "PYTHONPATH": str(ROOT)}
    with (folder / f"{name}.err").open("a") as err:
        process = subprocess.Popen(command, cwd=folder, env=environment, stderr=err, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def entry(folder: Path, name: str, deadline_s: int) -> Log:
    """Write a product file with one schedule entry that was due an hour ago; return the log of the entry."""
    now = datetime.now(UTC)
    cron = f"{now - timedelta(hours=1):%M %H} * * *"
    text = SCHEDULE.format(name=name, cron=cron, deadline=deadline_s)
    (folder / f"{name}.yaml").write_text(PRODUCT + text)
    log = Log(Store(str(folder / "millrace-store")), "shapes", name)
    log.append(Watched(at=now - timedelta(hours=2)), 0)
    return log


def wait_for(condition: "Callable[[], object]", what: str, timeout_s: float = 300) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def runs(log: Log) -> list[Started]:
    return [record for _, record in log.newest() if isinstance(record, Started)]


def settled(log: Log) -> list[Ended]:
    return [record for _, record in log.newest() if isinstance(record, Ended) and record.settles]


def programs(log: Log) -> set[str]:
    """Return the program names of the current runs' processes."""
    return {name_of(process)[:6] for run in runs(log) for process in processes_of(run.run)}


def name_of(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""


def test_scheduled_scoring(folder: Path) -> None:
    stuck, daily = entry(folder, "stuck", 25), entry(folder, "daily", 600)
    with scheduler(folder, "stuck", "score.before_commit=hang") as hanging:
        wait_for(lambda: {"java", "python"} <= programs(stuck), "Spark has started")
        with scheduler(folder, "daily") as killed:
            wait_for(lambda: {"java", "python"} <= programs(daily), "Spark has started")
            killed.kill()
        with scheduler(folder, "daily") as following:
            wait_for(lambda: settled(daily), "the new scheduler waits for the end of the run")
            following.terminate()
            assert following.wait(10) == 75
        wait_for(lambda: settled(stuck), "the scheduler ends the run")
        hanging.terminate()
        assert hanging.wait(10) == 75
    (end,), (run,) = settled(daily), runs(daily)
    assert (end.outcome, end.code, run.attempt) == ("done", 0, 1), (folder / "daily.err").read_text()
    assert rows_digest(Store(str(folder / "millrace-store")), "shapes", PREDICTIONS)[0] == ROWS
    assert run.inputs == {"table": 0, "model": 1}
    (end,) = settled(stuck)
    assert (end.outcome, end.code) == ("timed_out", None)
    assert programs(stuck) == programs(daily) == set()
    shown = run_command(folder, "millrace", "schedule", "next", "daily.yaml")
    (entry_shown,) = shown.result["entries"]
    assert [(past["outcome"], past["attempts"]) for past in entry_shown["past"]] == [("done", 1)]
