"""A schedule of small real processes in place of spark-submit, and a clock that can be set."""

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from millrace.config.sections.schedule import Entry
from millrace.errors import InputMissing
from millrace.storage import Store
from pipelines.schedule.log import Ended, Log, Started, Watched
from pipelines.schedule.runner import Runner, RunnerContext

START = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)
SCRIPT = Path(__file__).with_name("stage.py")


@dataclass
class Clock:
    """Goes as time does, from a moment that a test may set."""

    base: datetime = START
    _zero: float = field(default_factory=time.monotonic)

    def __call__(self) -> datetime:
        return self.base + timedelta(seconds=time.monotonic() - self._zero)

    def shift(self, **by: float) -> None:
        """Set it forward or back."""
        self.base += timedelta(**by)


@dataclass(frozen=True)
class Small:
    """Starts `stage.py` in a folder; a file ``withheld`` there is an input that is not there."""

    folder: Path

    def inputs(self, stage: str, done: Mapping[str, int | None]) -> dict[str, int]:
        """The version that an earlier stage made, or 1."""
        if (self.folder / "withheld").exists():
            raise InputMissing("there is no table 'trips/clean' in the store")
        return {"table": max([v for v in done.values() if v], default=1)}

    def command(self, run: Started) -> list[str]:
        """The script, with the stage, the logical date and the inputs."""
        inputs = [f"{name}={version}" for name, version in run.inputs.items()]
        return [sys.executable, "-SE", str(SCRIPT), str(self.folder), run.stage, key_of(run.tick), *inputs]

    def environment(self) -> dict[str, str]:
        """This process's own."""
        return dict(os.environ)


def key_of(tick: datetime) -> str:
    """A logical date in the name of a file."""
    return f"{tick:%Y%m%dT%H%M}"


def minutely(**changes: Any) -> Entry:
    """An entry with a tick every minute."""
    retries = {"max_attempts": 4, "wait_s": 0.05, "max_wait_s": 10}
    values = {"cron": "* * * * *", "stages": ["score"], "catch_up": "all", "deadline_s": 30, "retries": retries}
    return Entry.model_validate({**values, **changes})


@dataclass
class Bench:
    """One entry's log, its folder, and runners that work on it."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    entry: Entry = field(default_factory=minutely)

    def __post_init__(self) -> None:
        self.work = self.folder / "work"
        self.work.mkdir(exist_ok=True)
        self.log = Log(Store(str(self.folder / "store")), "trips", "minutely")

    def runner(self) -> Runner:
        """A runner as a scheduler that starts now makes it."""
        return Runner(
            "minutely", self.entry, self.log, RunnerContext(Small(self.work), self.folder / "logs", self.clock)
        )

    def watch(self) -> None:
        """Let the watch begin at the clock's time."""
        assert self.log.append(Watched(at=self.clock()), 0)

    def settled(self) -> list[Ended]:
        """The last records of ticks that are settled, in the order of the log."""
        records = [record for _, record in self.log.newest()][::-1]
        return [record for record in records if isinstance(record, Ended) and record.settles]

    def work_until(self, runner: Runner, ticks: int, timeout_s: float = 20) -> list[Ended]:
        """Step a runner until so many ticks are settled."""
        end = time.monotonic() + timeout_s
        while len(found := self.settled()) < ticks:
            assert time.monotonic() < end, [record for _, record in self.log.newest()]
            time.sleep(min(runner.step(), 0.05))
        return found

    def calls(self) -> list[str]:
        """What the script was called with."""
        path = self.work / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def table(self) -> list[str]:
        """Keys that were committed."""
        return sorted(path.name for path in (self.work / "table").iterdir())
