"""The log of an entry: where it stands is told by the records since the last settled tick, on both file systems."""

import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from millrace.storage import Store
from pipelines.schedule.log import Ended, Log, Outcome, Record, Skipped, Started, State, Watched
from pipelines.schedule.processes import owner
from tests.pipelines.schedule.small import START

TICK = START + timedelta(days=1)


@pytest.fixture(params=["local", pytest.param("hdfs", marks=pytest.mark.hdfs)])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Log:
    """An empty log, on a local disk and on HDFS."""
    root = str(tmp_path) if request.param == "local" else f"{request.getfixturevalue('hdfs').hdfs}/{uuid.uuid4().hex}"
    return Log(Store(root), "trips", "daily")


def started(stage: str = "score", **inputs: int) -> Started:
    return Started(
        at=TICK, tick=TICK, zone="UTC", stage=stage, attempt=1, run=stage, place="/x", owner=owner("k"), inputs=inputs
    )


def ended(outcome: Outcome, stage: str = "score", *, settles: bool = False, version: int | None = None) -> Ended:
    return Ended(at=TICK, tick=TICK, stage=stage, run=stage, outcome=outcome, settles=settles, version=version)


def fill(log: Log, *records: Record) -> State:
    number = log.state().number
    for record in records:
        assert log.append(record, number)
        number += 1
    return log.state()


def test_an_empty_log(log: Log) -> None:
    assert log.state() == State()
    assert log.history(3) == []


def test_of_two_that_append_one_wins(log: Log) -> None:
    first, second = started(a=1), started(a=2)
    assert log.append(first, 0)
    assert not log.append(second, 0)
    assert [record for _, record in log.newest()] == [first]


def test_where_it_stands(log: Log) -> None:
    assert fill(log, Watched(at=START)) == State(1, START)
    run = started("ingest")
    assert fill(log, run) == State(2, START, TICK, run=run)
    failed = ended("retry", "ingest")
    assert fill(log, failed) == State(3, START, TICK, ends=(failed,))
    assert fill(log, started("ingest"), ended("done", "ingest", version=4)) == State(5, START, TICK, {"ingest": 4})
    run = started("score", table=4)
    assert fill(log, run) == State(6, START, TICK, {"ingest": 4}, run, inputs={"table": 4})
    end = ended("interrupted")
    assert fill(log, end) == State(7, START, TICK, {"ingest": 4}, ends=(end,), inputs={"table": 4})
    wait = ended("waiting")
    assert fill(log, wait).inputs == {}  # what lacked its input may read a newer one
    assert fill(log, ended("done", settles=True)) == State(9, TICK)
    later = TICK + timedelta(days=3)
    assert fill(log, Skipped(at=later, first=TICK, tick=later, count=3)) == State(10, later)
    assert [len(records) for records in log.history(2)] == [1, 8]


def test_a_long_log_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(Store(str(tmp_path)), "trips", "daily")
    fill(log, Watched(at=START), *[ended("done", settles=True)] * 30, started())
    read: list[int] = []
    monkeypatch.setattr(
        "pipelines.schedule.log.read_record",
        lambda _store, _folder, number: (
            (read.append(number), started().model_dump_json().encode())[1]
            if number == 31
            else (read.append(number), ended("done", settles=True).model_dump_json().encode())[1]
        ),
    )
    assert log.state().run is not None
    assert read == [31, 30]


def test_a_record_of_a_later_version_is_read(tmp_path: Path) -> None:
    log = Log(Store(str(tmp_path)), "trips", "daily")
    text = Watched(at=START).model_dump_json().replace("{", '{"colour": "red", ', 1)
    log.store.put_new(b"token\n" + text.encode(), *log.folder, f"{0:020d}")
    assert log.state() == State(1, START)
