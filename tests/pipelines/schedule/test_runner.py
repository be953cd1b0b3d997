"""An entry, step by step: each tick once, whatever ends, waits, hangs, or happens to the clock."""

import time
from datetime import timedelta
from pathlib import Path

import pytest

from millrace.failpoints import ENVIRONMENT, FailpointFired
from pipelines.schedule import runner as runner_module
from pipelines.schedule.log import Ended, Skipped, Started
from pipelines.schedule.processes import owner, processes_of
from tests.pipelines.schedule.small import START, Bench, key_of, minutely


def started(bench: Bench) -> list[Started]:
    return [record for _, record in bench.log.newest() if isinstance(record, Started)][::-1]


def ended(bench: Bench, outcome: str) -> list[Ended]:
    records = [record for _, record in bench.log.newest()][::-1]
    return [record for record in records if isinstance(record, Ended) and record.outcome == outcome]


def due(bench: Bench, minutes: int) -> None:
    """Let the watch have begun, and minutes pass."""
    bench.watch()
    bench.clock.shift(minutes=minutes)


def test_a_watch_begins_now_and_makes_up_for_nothing_before(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    runner = bench.runner()
    assert runner.step() == 0
    assert 0 < runner.step() <= 30
    assert bench.calls() == []


def test_every_tick_runs_once_with_its_logical_date(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    due(bench, 2)
    found = bench.work_until(bench.runner(), 2)
    ticks = [START + timedelta(minutes=1), START + timedelta(minutes=2)]
    assert [(end.tick, end.outcome, end.version) for end in found] == [(ticks[0], "done", 1), (ticks[1], "done", 2)]
    assert bench.calls() == [f"score {key_of(tick)} table=1" for tick in ticks]
    assert [run.zone for run in started(bench)] == ["UTC", "UTC"]


def test_stages_run_in_order_and_pass_on_what_they_made(tmp_path: Path) -> None:
    bench = Bench(tmp_path, entry=minutely(stages=["ingest", "train", "score"]))
    (bench.work / "codes").write_text("0 75 0 0")
    due(bench, 1)
    (end,) = bench.work_until(bench.runner(), 1)
    assert (end.stage, end.version) == ("score", 3)
    key = key_of(START + timedelta(minutes=1))
    # A retry begins with the stage that failed.
    assert bench.calls() == [
        f"{s} {key} table={v}" for s, v in (("ingest", 1), ("train", 1), ("train", 1), ("score", 2))
    ]


def test_a_tick_whose_last_stage_was_taken_out_is_settled(tmp_path: Path) -> None:
    bench = Bench(tmp_path, entry=minutely(stages=["ingest", "score"]))
    due(bench, 1)
    runner = bench.runner()
    while not ended(bench, "done"):
        time.sleep(min(runner.step(), 0.05))
    bench.entry = minutely(stages=["ingest"])
    (end,) = bench.work_until(bench.runner(), 1)
    assert (end.stage, end.outcome) == ("ingest", "done")
    assert len(bench.calls()) == 1


@pytest.mark.parametrize(
    ("catch_up", "ran", "skipped"), [("all", [1, 2, 3], []), ("latest", [3], [(1, 2, 2)]), ("none", [], [(1, 3, 3)])]
)
def test_ticks_that_nobody_watched(
    catch_up: str, ran: list[int], skipped: list[tuple[int, ...]], tmp_path: Path
) -> None:
    bench = Bench(tmp_path, entry=minutely(catch_up=catch_up))
    due(bench, 3)
    runner = bench.runner()
    bench.work_until(runner, len(ran))
    runner.step()
    minute = timedelta(minutes=1)
    assert [(run.tick - START) // minute for run in started(bench)] == ran
    found = [record for _, record in bench.log.newest() if isinstance(record, Skipped)]
    assert [((s.first - START) // minute, (s.tick - START) // minute, s.count) for s in found] == skipped
    bench.clock.shift(minutes=1)
    assert bench.work_until(runner, len(ran) + 1)[-1].tick == START + 4 * minute  # on time, whatever the policy


@pytest.mark.parametrize("back", [{"minutes": 1}, {"days": 1}])
def test_a_clock_that_is_set_back_doubles_no_tick(back: dict[str, float], tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    due(bench, 2)
    runner = bench.runner()
    bench.work_until(runner, 2)
    bench.clock.shift(**{unit: -by for unit, by in back.items()})
    assert runner.step() > 0
    assert bench.runner().step() > 0
    bench.clock.shift(**back)
    assert bench.runner().step() > 0
    assert len(started(bench)) == 2
    bench.clock.shift(minutes=1)
    found = bench.work_until(runner, 3)
    assert [end.tick for end in found] == [START + timedelta(minutes=number) for number in (1, 2, 3)]
    assert len(bench.calls()) == 3


def test_a_clock_that_is_set_back_makes_no_wait_longer(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (bench.work / "codes").write_text("75")
    due(bench, 1)
    runner = bench.runner()
    while not ended(bench, "retry"):
        time.sleep(min(runner.step(), 0.05))
    bench.clock.shift(days=-1)
    assert bench.work_until(runner, 1)[0].outcome == "done"


def test_an_always_failing_stage_is_tried_with_growing_waits(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (bench.work / "codes").write_text("75 " * 9)
    due(bench, 1)
    (end,) = bench.work_until(bench.runner(), 1)
    assert (end.outcome, end.code, end.reason) == ("failed", 75, "ends with 75")
    runs, waits = started(bench), [record.wait_s for record in ended(bench, "retry")]
    assert [run.attempt for run in runs] == [1, 2, 3, 4]
    assert [least <= wait <= 1.25 * least for least, wait in zip((0.05, 0.1, 0.2), waits, strict=True)] == [True] * 3
    passed = [
        (later.at - record.at).total_seconds() for later, record in zip(runs[1:], ended(bench, "retry"), strict=True)
    ]
    assert all(there >= wait for there, wait in zip(passed, waits, strict=True))


@pytest.mark.parametrize(("code", "outcome"), [(2, "failed"), (3, "rejected"), (5, "refused"), (78, "failed")])
def test_what_no_retry_mends_is_tried_once(code: int, outcome: str, tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (bench.work / "codes").write_text(str(code))
    due(bench, 1)
    runner = bench.runner()
    (end,) = bench.work_until(runner, 1)
    assert (end.outcome, end.code, end.reason) == (outcome, code, f"ends with {code}")
    assert runner.step() > 0
    assert len(bench.calls()) == 1


@pytest.mark.parametrize("how", ["store", "stage"])
def test_a_withheld_input_is_waited_for(how: str, tmp_path: Path) -> None:
    retries = {"wait_s": 0.05, "max_wait_s": 0.05, "max_attempts": 2}
    bench = Bench(tmp_path, entry=minutely(retries=retries))
    if how == "store":
        (bench.work / "withheld").touch()
    else:
        (bench.work / "codes").write_text("4 4 4 4 4")
    due(bench, 1)
    runner = bench.runner()
    while len(ended(bench, "waiting")) < 4:  # more often than a failure is tried
        time.sleep(min(runner.step(), 0.05))
    waiting = ended(bench, "waiting")[-1]
    assert waiting.reason == ("there is no table 'trips/clean' in the store" if how == "store" else "ends with 4")
    assert len(bench.calls()) == (0 if how == "store" else 4)
    (bench.work / "withheld").unlink(missing_ok=True)
    assert bench.work_until(runner, 1)[0].outcome == "done"


def test_a_wait_has_an_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path, entry=minutely(input_wait_s=0.2))
    (bench.work / "withheld").touch()
    due(bench, 1)
    (end,) = bench.work_until(bench.runner(), 1)
    assert (end.outcome, end.reason) == ("input_missing", "there is no table 'trips/clean' in the store")


def test_a_run_past_its_deadline_ends_with_all_its_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "GRACE_S", 0.3)
    bench = Bench(tmp_path, entry=minutely(deadline_s=1))
    (bench.work / "hang").touch()
    due(bench, 1)
    runner = bench.runner()
    runner.step()
    token = started(bench)[0].run
    while len(processes_of(token)) < 3:  # the launcher, the stage, and its child in another session
        time.sleep(0.02)
    (end,) = bench.work_until(runner, 1)
    assert (end.outcome, end.code) == ("timed_out", None)
    assert "longer than 1 s" in end.reason
    assert processes_of(token) == []


def test_what_runs_is_ended_with_its_scheduler_and_begun_again_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "STOP_S", 0.3)
    bench = Bench(tmp_path)
    (bench.work / "hang").touch()
    due(bench, 1)
    runner = bench.runner()
    runner.step()
    while not bench.calls():
        time.sleep(0.02)
    runner.stop()
    assert processes_of(started(bench)[0].run) == []
    assert [end.settles for end in ended(bench, "interrupted")] == [False]
    assert runner.step() > 0
    (bench.work / "hang").unlink()
    assert bench.work_until(bench.runner(), 1)[0].outcome == "done"
    assert [run.attempt for run in started(bench)] == [1, 1]


def test_the_input_of_a_run_that_is_begun_again_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path)
    (bench.work / "codes").write_text("75")
    due(bench, 1)
    runner = bench.runner()
    while not ended(bench, "retry"):
        time.sleep(min(runner.step(), 0.05))
    monkeypatch.setattr("tests.pipelines.schedule.small.Small.inputs", lambda *_: {"table": 2})
    bench.work_until(bench.runner(), 1)
    assert [call.rpartition(" ")[2] for call in bench.calls()] == ["table=1", "table=1"]


def test_a_second_scheduler_leaves_what_another_runs(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (bench.work / "seconds").write_text("0.3")
    due(bench, 3)
    first, second = bench.runner(), bench.runner()
    while len(bench.settled()) < 3:
        for runner in (first, second):
            runner.step()
        time.sleep(0.02)
    assert len(bench.calls()) == 3
    assert not (bench.work / "overlap").exists()


def test_a_run_that_another_scheduler_is_about_to_launch_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    due(bench, 1)
    first, second = bench.runner(), bench.runner()
    monkeypatch.setenv(ENVIRONMENT, "schedule.before_start=raise")
    with pytest.raises(FailpointFired):
        first.step()
    monkeypatch.delenv(ENVIRONMENT)
    assert second.step() > 1
    assert (bench.calls(), len(started(bench))) == ([], 1)
    assert bench.work_until(first, 1)[0].outcome == "done"
    assert second.step() > 1
    assert len(bench.calls()) == 1


@pytest.mark.parametrize("point", ["schedule.before_start", "schedule.after_start", "schedule.before_outcome"])
def test_a_runner_that_breaks_off_leaves_nothing_undone(
    point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    due(bench, 1)
    monkeypatch.setenv(ENVIRONMENT, f"{point}=raise")
    runner = bench.runner()
    with pytest.raises(FailpointFired):
        bench.work_until(runner, 1)
    monkeypatch.delenv(ENVIRONMENT)
    assert bench.work_until(runner, 1)[0].outcome == "done"
    assert len(bench.calls()) == 1


def test_another_hosts_run_is_left_alone_until_it_must_be_over(tmp_path: Path) -> None:
    bench = Bench(tmp_path, entry=minutely(deadline_s=60))
    due(bench, 1)
    there = owner("theirs").model_copy(update={"host": "elsewhere", "pid": 1})
    tick = START + timedelta(minutes=1)
    run = Started(
        at=bench.clock(), tick=tick, zone="UTC", stage="score", attempt=1, run="theirs", place="/nowhere", owner=there
    )
    assert bench.log.append(run, 1)
    runner = bench.runner()
    bench.clock.shift(seconds=80)
    assert runner.step() > 1
    assert bench.calls() == []
    bench.clock.shift(seconds=20)
    found = bench.work_until(runner, 1)
    assert [(end.tick, end.outcome) for end in found] == [(tick, "done")]
    assert [end.run for end in ended(bench, "interrupted")] == ["theirs"]
