"""Every failpoint of the stages, one after another in one store; what comes out is compared with an undisturbed run.

A chain runs a stage once for each point, so each run is the rerun after the last one's fault as well.
"""

import signal
import time
from collections.abc import Callable, Iterator

from chaos.goals import Goal, Tally
from chaos.place import OLD_ROWS, ROWS, Place, complaint_of, result_of, say
from millrace.tables.versions import CLEAN, PREDICTIONS
from tests.e2e.commands import Done

BEFORE = {
    "ingest": (
        "ingest.before_staging",
        "ingest.before_reading",
        "ingest.before_checks",
        "ingest.before_rejects",
        "ingest.before_commit",
    ),
    "train": (
        "train.before_measure",
        "put.before_rename",
        "train.before_ranks",
        "train.before_epoch@1",
        "train.before_batch@0",
        "train.before_export@1",
        "train.after_export",
        "train.before_gates",
        "train.before_publish",
        "publish.before_upload",
        "publish.before_rename",
    ),
    "score": (
        "cache.before_rename",
        "score.before_tasks",
        "score.before_batch",
        "score.before_close",
        "score.after_file",
        "score.before_commit",
    ),
}
"""Points before the commit, in the order in which a stage comes by."""
AFTER = {
    "ingest": ("ingest.after_commit", "run.before_record"),
    "train": ("publish.after_rename", "train.after_publish"),
    "score": ("score.after_commit",),
}
"""Points after the commit: the rerun finds it done."""
IN_WORKERS = ("score.before_batch", "score.before_close", "score.after_file")
IN_RANKS = ("train.before_epoch", "train.before_batch", "train.before_export", "train.after_export")
ONLY_REMOTE = ("cache.before_rename",)

KILLED, BUG, INFRASTRUCTURE = -9, 70, 75
NEW_KEYS: dict[str, Callable[[int], str]] = {
    "ingest": lambda number: f"contract.min_rows={100 + number}",
    "train": lambda number: f"evaluate.gates={{accuracy: {{min: 0.{number}1}}}}",
    "score": lambda number: f"--date=2024-02-{number + 1:02}",
}
"""What makes a stage's work new without changing its result."""
DATE = "--date=2024-01-01"


class Chain:
    """Runs the stages of one store against all points.

    Args:
        place: Where; empty.
        action: ``kill9`` or ``raise``.
    """

    def __init__(self, place: Place, action: str) -> None:
        self.place, self.action = place, action
        self.tally = Tally(f"{action} at each failpoint, then again", place.name)
        self.fired: set[str] = set()
        self.golden = place.beside(f"{place.folder.name}-golden")

    def goals(self) -> Iterator[Goal]:
        """Do all of it."""
        self._prepare()
        for stage in ("ingest", "train", "score"):
            for point in BEFORE[stage]:
                if self.place.name == "local" and point in ONLY_REMOTE:
                    continue
                self._strike(stage, point)
            self._check_result(stage)
            for number, point in enumerate(AFTER[stage]):
                self._strike_after(stage, point, NEW_KEYS[stage](number + 1))
            if stage == "ingest":
                self.tally.note(complaint_of(self.place.run(stage), 0))  # the next stages ask for this contract
        yield from self.tally.goals()
        wanted = {p.partition("@")[0] for each in (BEFORE, AFTER) for points in each.values() for p in points}
        wanted -= set(ONLY_REMOTE) if self.place.name == "local" else set()
        yield Goal(f"failpoints fired with {self.action}", self.place.name, len(wanted & self.fired), len(wanted))

    def _prepare(self) -> None:
        """The old version that has to stay readable, and the golden result."""
        self.golden.write(ROWS)
        for stage in ("ingest", "train", "score"):
            done = self.golden.run(stage, *([DATE] if stage == "score" else []))
            self.tally.note(complaint_of(done, 0))
        self.place.write(OLD_ROWS)
        self.tally.note(complaint_of(self.place.run("ingest"), 0))
        self.old = self.place.rows()
        self.place.write(ROWS)

    def _strike(self, stage: str, point: str) -> None:
        say(f"{self.place.name}: {self.action} at {point}")
        options = [DATE] if stage == "score" else []
        before = (self.place.rows(), self.place.predictions(), self.place.store.names("models", "shapes"))
        running = self.place.start(stage, *options, fail=f"{point}=once:{self.action}")
        done = running.wait()
        self.fired |= {name for name, _ in running.fired()}
        if point in IN_WORKERS:
            self._after_worker(done, point)
            return
        codes = (
            (INFRASTRUCTURE,) if point.partition("@")[0] in IN_RANKS else (KILLED if self.action == "kill9" else BUG,)
        )
        after = (self.place.rows(), self.place.predictions(), self.place.store.names("models", "shapes"))
        changed = "" if after == before else f"{point}: something became visible"
        old = "" if stage != "ingest" or after[0] == self.old else f"{point}: the old version is not what it was"
        self.tally.note(complaint_of(done, *codes), changed, old)

    def _after_worker(self, done: Done, point: str) -> None:
        """A worker's task is tried again, and the run goes on: nothing is lost, and it is told."""
        failed = result_of(done).get("details", {}).get("failed_tasks", 0)
        self.tally.note(complaint_of(done, 0), "" if failed else f"{point}: no word of the failed task")
        if done.code == 0:
            self._check_result("score")
            self._forget_predictions()

    def _forget_predictions(self) -> None:
        self.place.store.remove("tables", "shapes", PREDICTIONS)

    def _check_result(self, stage: str) -> None:
        """The next undisturbed run gives the golden result."""
        options = [DATE] if stage == "score" else []
        done = self.place.run(stage, *options)
        problems = [complaint_of(done, 0)]
        if stage == "ingest":
            problems.append("" if self.place.rows() == self.golden.rows() else "the rows are not the golden ones")
            problems.append("" if self.place.rejects() == self.golden.rejects() else "rejects were lost or doubled")
        if stage == "train":
            problems.append("" if self.place.metrics() == self.golden.metrics() else "the metrics differ")
        if stage == "score":
            same = self.place.predictions() == self.golden.predictions()
            problems.append("" if same else "the predictions are not the golden ones")
        self.tally.note(*problems)

    def _strike_after(self, stage: str, point: str, new: str) -> None:
        say(f"{self.place.name}: {self.action} at {point}")
        table = {"ingest": CLEAN, "score": PREDICTIONS}.get(stage)
        running = self.place.start(stage, new, fail=f"{point}={self.action}")
        done = running.wait()
        self.fired |= {name for name, _ in running.fired()}
        made = self.place.versions(table) if table else len(self.place.store.names("models", "shapes"))
        again = self.place.run(stage, new)
        now = self.place.versions(table) if table else len(self.place.store.names("models", "shapes"))
        twice = "" if made == now else f"{point}: {now - made} more versions after the rerun"
        said = result_of(again).get("outcome")
        told = "" if said == "already_committed" else f"{point}: the rerun says {said}"
        self.tally.note(
            complaint_of(done, KILLED if self.action == "kill9" else BUG), complaint_of(again, 0), twice, told
        )


def terminate_everywhere(place: Place) -> Iterator[Goal]:
    """SIGTERM while a stage stands at each of the driver's points: exit 75 within ten seconds, nothing visible."""
    tally = Tally("SIGTERM at each failpoint: exit 75 in 10 s", place.name)
    place.write(ROWS)
    for stage in ("ingest", "train", "score"):
        for point in BEFORE[stage]:
            if point in IN_WORKERS or point.partition("@")[0] in IN_RANKS or point in ONLY_REMOTE:
                continue
            say(f"{place.name}: SIGTERM at {point}")
            running = place.start(stage, fail=f"{point}=once:hang")
            reached = running.wait_fired()
            started = time.monotonic()
            running.send(signal.SIGTERM)
            done = running.wait(60)
            seconds = time.monotonic() - started
            slow = f"{point}: took {seconds:.0f} s" if seconds > 10 else ""
            tally.note("" if reached else f"{point} was never reached", complaint_of(done, INFRASTRUCTURE), slow)
        tally.note(complaint_of(place.run(stage), 0))
    yield from tally.goals()
