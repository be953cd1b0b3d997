"""Runs one entry of a schedule: reads from its log what is due, starts it, waits for its end, and records the outcome.

All state is in the log, except for the running processes. If a runner is killed, any other one continues from the log.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from millrace.config.sections.schedule import Entry
from millrace.cron import moments_until, next_moment
from millrace.errors import MillraceError, Unavailable, shorten
from millrace.failpoints import fail_here
from pipelines.jobs.exits import OK, exit_code
from pipelines.schedule.log import Ended, Log, Record, Skipped, Started, State, Watched
from pipelines.schedule.outcomes import Verdict, judge
from pipelines.schedule.processes import LOST, Child, is_alive, owner
from pipelines.schedule.submit import Commands

logger = logging.getLogger(__name__)

GRACE_S: Final = 10.0
"""Seconds between SIGTERM and SIGKILL for a run past its deadline."""
STOP_S: Final = 6.0
"""The same when the scheduler itself ends, which may take ten seconds."""
FOLLOW_S: Final = 0.2
IDLE_S: Final = 30.0
"""Longest time between two checks of the clock, which may be set."""
OTHERS_S: Final = 5.0
"""Seconds between two checks of the log while another scheduler runs the open stage."""


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class RunnerContext:
    """What the runners of a scheduler share.

    Attributes:
        commands: Commands that start stages.
        logs: Local folder for the output of runs.
        clock: Returns the current time in UTC.
    """

    commands: Commands
    logs: Path
    clock: Callable[[], datetime] = utc_now


class Runner:
    """Runs one entry, one step at a time.

    Args:
        name: The entry's name.
        entry: Its settings.
        log: Its log in the store.
        context: What the runners share.
    """

    def __init__(self, name: str, entry: Entry, log: Log, context: RunnerContext) -> None:
        self.name = name
        self.entry = entry
        self.log = log
        self._context = context
        self._owner = owner(secrets.token_hex(4))
        self._lock = threading.Lock()
        self._stopped = False
        self._state: State | None = None
        self._child: Child | None = None
        self._until = 0.0
        self._watching: datetime | None = None

    def step(self) -> float:
        """Do what is due now.

        Returns:
            Seconds until the next step.

        Raises:
            StorageError: The store is unavailable; the next step reads the log again.
        """
        with self._lock:
            if self._stopped:
                return IDLE_S
            self._watching = self._watching or self._context.clock()
            try:
                if self._state is None:
                    self._state = self.log.state()
                return self._step(self._state)
            except Unavailable:
                self._state = None
                raise

    def _step(self, state: State) -> float:
        now = self._context.clock()
        if state.run:
            return self._follow(state.run)
        if state.tick:
            wait = _remaining(state, now)
            return min(wait, IDLE_S) if wait > 0 else self._begin(state, state.tick, now)
        if state.cursor is None:
            self._append(Watched(at=now))
            return 0
        due = self._due(state.cursor, now)
        if not due:
            upcoming = next_moment(self.entry.cron, self.entry.timezone, max(state.cursor, now))
            return min((upcoming - now).total_seconds(), IDLE_S)
        keep = self._count_to_run(due)
        if keep < len(due):
            skipped = due[: len(due) - keep]
            logger.warning("%s: %d missed ticks are skipped: %s", self.name, len(skipped), _span(skipped))
            self._append(Skipped(at=now, first=skipped[0], tick=skipped[-1], count=len(skipped)))
            return 0
        return self._begin(state, due[0], now)

    def _due(self, cursor: datetime, now: datetime) -> list[datetime]:
        return moments_until(self.entry.cron, self.entry.timezone, cursor, now)

    def _count_to_run(self, due: list[datetime]) -> int:
        """How many of the last due ticks are run, by `catch_up`; ticks on time always are."""
        on_time = sum(moment > self._watching for moment in due) if self._watching else 0
        return {"all": len(due), "latest": 1, "none": on_time and 1}[self.entry.catch_up]

    def _begin(self, state: State, tick: datetime, now: datetime) -> float:
        stage = next((stage for stage in self.entry.stages if stage not in state.done), None)
        if stage is None:  # the entry had more stages when the tick started
            self._append(Ended(at=now, tick=tick, stage=self.entry.stages[-1], outcome="done", settles=True))
            return 0
        try:
            inputs = state.inputs or self._context.commands.inputs(stage, state.done)
        except Unavailable:
            raise
        except MillraceError as error:
            verdict = judge(exit_code(error), state.ends, self.entry, now)
            self._end(state, Ended(at=now, tick=tick, stage=stage, outcome=verdict.outcome, reason=str(error)), verdict)
            return 0
        token = secrets.token_hex(8)
        path = self._context.logs.absolute() / self.log.folder[1] / self.name / f"{tick:%Y%m%dT%H%M%SZ}-{stage}-{token}"
        attempt = 1 + sum(end.outcome == "retry" for end in state.ends)
        run = Started(
            at=now, tick=tick, zone=self.entry.timezone, stage=stage, attempt=attempt, run=token,
            place=str(path), owner=self._owner, inputs=inputs,
        )  # fmt: skip
        command = self._context.commands.command(run)
        if not self._append(run):
            return OTHERS_S
        self._until = time.monotonic() + self.entry.deadline_s
        fail_here("schedule.before_start")
        again = f", attempt {attempt}" if attempt > 1 else ""
        logger.info("%s %s: %s starts%s", self.name, tick.isoformat(), stage, again)
        self._child = Child.launch(command, token, path, self._context.commands.environment())
        fail_here("schedule.after_start")
        return FOLLOW_S

    def _follow(self, run: Started) -> float:
        if self._child is None or self._child.token != run.run:
            if self._is_others(run):
                self._state = None
                return OTHERS_S
            logger.info(
                "%s %s: %s was started earlier; waiting for its end", self.name, run.tick.isoformat(), run.stage
            )
            self._child = Child(run.run, Path(run.place))
            self._until = time.monotonic() + self.entry.deadline_s - self._age(run)
        code = self._child.code()
        if code is None and time.monotonic() < self._until:
            return FOLLOW_S
        self._conclude(run, self._child, code)
        return 0

    def _is_others(self, run: Started) -> bool:
        """Whether another scheduler still takes care of a run."""
        if run.owner.host == self._owner.host:
            return run.owner.key != self._owner.key and is_alive(run.owner)
        # A process on another host cannot be checked: after this time its own scheduler has ended it.
        return self._age(run) < self.entry.deadline_s + 3 * GRACE_S

    def _age(self, run: Started) -> float:
        return max(0.0, (self._context.clock() - run.at).total_seconds())

    def _conclude(self, run: Started, child: Child, code: int | None) -> None:
        child.end(GRACE_S, lambda: self._stopped)  # it is past its deadline, or it left processes behind
        fail_here("schedule.before_outcome")
        now, state = self._context.clock(), self._state or self.log.state()
        result = child.result()
        reason = shorten(result.get("reason") or "", 500)
        if code is None:
            verdict = Verdict("timed_out", settles=True)
            reason = f"ran longer than {self.entry.deadline_s:g} s, and was stopped with all its processes"
        elif code == LOST and not child.is_mine:
            verdict, reason = (
                Verdict("interrupted", settles=False),
                "its processes were gone when the scheduler restarted",
            )
        else:
            verdict = judge(code, state.ends, self.entry, now)
            reason = reason or ("" if code == OK else "there is no output")
        version = result.get("version")
        record = Ended(
            at=now, tick=run.tick, stage=run.stage, run=run.run, outcome=verdict.outcome, code=code, reason=reason,
            run_id=str(result.get("run_id") or ""), version=version if isinstance(version, int) else None,
        )  # fmt: skip
        self._end(state, record, verdict)
        self._child = None

    def _end(self, state: State, record: Ended, verdict: Verdict) -> None:
        last = record.outcome == "done" and {*state.done, record.stage} >= set(self.entry.stages)
        record = record.model_copy(update={"settles": verdict.settles or last, "wait_s": verdict.wait_s})
        self._log_outcome(record)
        if self._append(record) and record.settles:
            self._watching = self._context.clock()

    def _log_outcome(self, record: Ended) -> None:
        what = f"{self.name} {record.tick.isoformat()}: {record.stage}"
        then = f"; next attempt in {record.wait_s:.0f} s" if record.wait_s else ""
        if record.outcome == "done":
            logger.info("%s done, version %s", what, record.version)
        elif record.outcome == "waiting":
            logger.info("%s is waiting for its input: %s%s", what, record.reason, then)
        else:
            code = "" if record.code is None else f" ({record.code})"
            logger.warning("%s %s%s: %s%s", what, record.outcome.replace("_", " "), code, record.reason, then)

    def _append(self, record: Record) -> bool:
        """Add the next record; if another scheduler added one first, the next step reads the log again."""
        state = self._state or self.log.state()
        if not self.log.append(record, state.number):
            self._state = None
            return False
        self._state = state.after(record)
        return True

    def stop(self) -> None:
        """End the running stage, which the next scheduler starts again; later steps do nothing."""
        self._stopped = True
        with self._lock:
            child, state = self._child, self._state
            if child is None or state is None or state.run is None:
                return
            code = child.code()
            if code is not None:
                self._conclude(state.run, child, code)
                return
            child.end(STOP_S)
            record = Ended(
                at=self._context.clock(), tick=state.run.tick, stage=state.run.stage, run=state.run.run,
                outcome="interrupted", reason="the scheduler was stopped",
            )  # fmt: skip
            self._log_outcome(record)
            self._append(record)


def _remaining(state: State, now: datetime) -> float:
    """Seconds until the next attempt at the open tick. A clock that was set back does not lengthen the wait."""
    if not state.ends:
        return 0
    last = state.ends[-1]
    passed = (now - last.at).total_seconds()
    return last.wait_s - passed if passed >= 0 else 0


def _span(moments: list[datetime]) -> str:
    first, last = moments[0].isoformat(), moments[-1].isoformat()
    return first if first == last else f"{first} to {last}"
