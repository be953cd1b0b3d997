"""Schedulers as processes: killed at any moment, two at once, and asked to end."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from millrace.errors import ConfigError, Terminated
from millrace.failpoints import ENVIRONMENT
from pipelines.schedule import embedded
from pipelines.schedule.embedded import Embedded
from pipelines.schedule.log import Started
from pipelines.schedule.processes import processes_of
from tests.pipelines.schedule.small import START, Bench, Small, key_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
KILLS = 20
TICKS = 30
POINTS = (
    "schedule.before_start",
    "schedule.after_start",
    "schedule.before_outcome",
    "append.before_rename",
    "append.after_rename",
)


@contextmanager
def scheduler(bench: Bench, ticks: int, fail: str = "") -> "Iterator[subprocess.Popen[str]]":
    """A scheduler that has as many ticks to make up for, up to when it begins; killed at the end of the block."""
    command = [sys.executable, "-m", "tests.pipelines.schedule.scheduler", str(bench.folder), str(ticks)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), ENVIRONMENT: fail}
    with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def wait_for(bench: Bench, ticks: int, timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while len(bench.settled()) < ticks:
        assert time.monotonic() < end, [record for _, record in bench.log.newest()]
        time.sleep(0.05)


def check_once(bench: Bench, ticks: int) -> None:
    """Every logical date is settled once in the log, and was committed once to the table."""
    expected = [START + timedelta(minutes=number + 1) for number in range(ticks)]
    assert [(end.tick, end.outcome) for end in bench.settled()] == [(tick, "done") for tick in expected]
    assert bench.table() == [f"score {key_of(tick)}" for tick in expected]
    assert not (bench.work / "overlap").exists()


def kill_in_a_run(bench: Bench) -> None:
    """Kill the scheduler and the stage that it runs, while the stage works."""
    (bench.work / "seconds").write_text("60")
    with scheduler(bench, TICKS) as process:
        end = time.monotonic() + 30
        while (run := bench.log.state().run) is None or not (stages := processes_of(run.run)):
            assert time.monotonic() < end
            time.sleep(0.05)
        process.kill()
        process.wait()
        for each in stages:
            each.kill()
    (bench.work / "seconds").write_text("0.1")


@pytest.mark.timeout(150)
def test_killed_at_any_moment_it_neither_loses_nor_doubles_a_tick(tmp_path: Path) -> None:
    chance = random.Random(4)
    bench = Bench(tmp_path)
    bench.watch()
    (bench.work / "seconds").write_text("0.1")
    for number in range(KILLS):
        with scheduler(bench, TICKS) as process:
            time.sleep(chance.uniform(0, 0.6))
            process.kill()
            process.wait()
        run = bench.log.state().run
        if number % 3 == 0 and run is not None:  # the whole machine, as it were
            for each in processes_of(run.run):
                each.kill()
    before = len(bench.settled())
    assert before < TICKS
    kill_in_a_run(bench)
    with scheduler(bench, TICKS):
        wait_for(bench, TICKS)
    check_once(bench, TICKS)
    again = Counter(record.tick for _, record in bench.log.newest() if isinstance(record, Started))
    assert max(again.values()) > 1  # at least the one that was certainly killed was begun again
    sys.stderr.write(f"S1: {KILLS} kills, {before} ticks settled under them; got/goal 0/0 lost, 0/0 doubled\n")


def test_killed_at_each_step_of_a_tick(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.watch()
    for point in POINTS:
        with scheduler(bench, len(POINTS), f"{point}=kill9") as process:
            assert process.wait(30) == -signal.SIGKILL, point
    with scheduler(bench, len(POINTS)):
        wait_for(bench, len(POINTS))
    check_once(bench, len(POINTS))
    assert len(bench.calls()) == len(POINTS)  # what had been launched was followed, not begun again


def test_two_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.watch()
    with scheduler(bench, 8), scheduler(bench, 8):
        wait_for(bench, 8)
    check_once(bench, 8)
    assert len(bench.calls()) == 8


def test_sigterm_ends_it_and_what_it_runs_within_ten_seconds(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.watch()
    (bench.work / "seconds").write_text("60")
    with scheduler(bench, 1) as process:
        while not bench.calls():
            time.sleep(0.05)
        began = time.monotonic()
        process.terminate()
        assert process.wait(20) == 75
        assert time.monotonic() - began < 10
    run = next(record for _, record in bench.log.newest() if isinstance(record, Started))
    assert processes_of(run.run) == []


def test_what_no_waiting_mends_ends_the_scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> list[str]:
        raise ConfigError("there is no spark-submit")

    bench = Bench(tmp_path)
    bench.watch()
    bench.clock.shift(minutes=1)
    monkeypatch.setattr(Small, "command", refuse)
    with pytest.raises(ConfigError, match="spark-submit"):
        Embedded([bench.runner()]).run()


def test_a_store_that_is_away_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(embedded, "RETRY_S", 0.05)
    bench = Bench(tmp_path)
    store = tmp_path / "store"
    store.write_text("a file where a folder should be")

    def mend() -> None:
        while "retrying in" not in caplog.text:
            time.sleep(0.01)
        store.unlink()
        while bench.log.state().cursor is None:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    mender = threading.Thread(target=mend, daemon=True)
    mender.start()
    with pytest.raises(Terminated):
        Embedded([bench.runner()]).run()
    mender.join()
