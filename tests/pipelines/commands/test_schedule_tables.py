"""What people see of a schedule."""

from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.commands.schedule_tables import Past, read_past
from pipelines.schedule.log import Ended, Outcome, Skipped, Started
from pipelines.schedule.processes import owner
from tests.pipelines.schedule.small import START, Bench

RUN = Started(at=START, tick=START, zone="UTC", stage="score", attempt=2, run="r", place="/x", owner=owner("k"))


def ended(outcome: Outcome, reason: str = "", *, settles: bool = False, version: int | None = None) -> Ended:
    return Ended(at=START, tick=START, stage="score", outcome=outcome, reason=reason, settles=settles, version=version)


@pytest.mark.parametrize(
    ("records", "outcome", "reason", "attempts"),
    [
        ([RUN], "running", "score, attempt 2", 1),
        ([RUN, ended("done", version=3, settles=True)], "done", "score is done, version 3", 1),
        ([RUN, ended("done")], "running", "score is done", 1),
        ([ended("waiting", "there is no table")], "waiting", "score: there is no table", 0),
        ([RUN, ended("retry", "no NameNode"), RUN, ended("timed_out", settles=True)], "timed out", "score: ", 2),
    ],
)
def test_a_tick_in_a_line(records: list[Started | Ended | Skipped], outcome: str, reason: str, attempts: int) -> None:
    assert read_past(records) == Past(START, outcome, reason, attempts)


def test_ticks_that_were_skipped() -> None:
    last = START + timedelta(days=2)
    assert read_past([Skipped(at=last, first=START, tick=last, count=3)]) == Past(
        last, "skipped", "with 2 before it", 0
    )


def test_a_log_in_lines(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (bench.work / "codes").write_text("0 3 75 0")
    bench.watch()
    bench.clock.shift(minutes=3)
    bench.work_until(bench.runner(), 3)
    found = [read_past(records) for records in bench.log.history(2)]
    assert [(past.tick, past.outcome, past.attempts) for past in found] == [
        (START + timedelta(minutes=3), "done", 2),
        (START + timedelta(minutes=2), "rejected", 1),
    ]
