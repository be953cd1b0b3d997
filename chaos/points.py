"""Fault tests of every failpoint of the stages, one after another in one store.

A chain runs a stage once for each failpoint. Each run is therefore also the rerun after the previous fault. The results
are compared with the golden ones, which an undisturbed run produced.
"""

import signal
import time
from collections.abc import Callable, Iterator

from chaos.goals import Goal, Tally
from chaos.workspace import OLD_ROWS, ROWS, Workspace, report, result_of, unexpected_exit
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
"""Failpoints before the commit, in the order in which a stage reaches them."""
AFTER = {
    "ingest": ("ingest.after_commit", "run.before_record"),
    "train": ("publish.after_rename", "train.after_publish"),
    "score": ("score.after_commit",),
}
"""Failpoints after the commit: the rerun finds the work already committed."""
IN_WORKERS = ("score.before_batch", "score.before_close", "score.after_file")
IN_RANKS = ("train.before_epoch", "train.before_batch", "train.before_export", "train.after_export")
ONLY_REMOTE = ("cache.before_rename",)

KILLED, BUG, INFRASTRUCTURE = -9, 70, 75
NEW_KEYS: dict[str, Callable[[int], str]] = {
    "ingest": lambda number: f"contract.min_rows={100 + number}",
    "train": lambda number: f"evaluate.gates={{accuracy: {{min: 0.{number}1}}}}",
    "score": lambda number: f"--date=2024-02-{number + 1:02}",
}
"""By stage, a setting that requires a new commit but leaves the result the same."""
DATE = "--date=2024-01-01"


class Chain:
    """Runs the stages of one store with a fault at each failpoint.

    Args:
        workspace: An empty workspace.
        action: The fault: ``kill9`` or ``raise``.
    """

    def __init__(self, workspace: Workspace, action: str) -> None:
        self.workspace, self.action = workspace, action
        self.tally = Tally(f"{action} at each failpoint, then a rerun", workspace.name)
        self.fired: set[str] = set()
        self.golden = workspace.sibling(f"{workspace.folder.name}-golden")

    def goals(self) -> Iterator[Goal]:
        """Run all stages with all faults and yield the goals."""
        self._prepare()
        for stage in ("ingest", "train", "score"):
            for point in BEFORE[stage]:
                if self.workspace.name == "local" and point in ONLY_REMOTE:
                    continue
                self._fail_before_commit(stage, point)
            self._check_result(stage)
            for number, point in enumerate(AFTER[stage]):
                self._fail_after_commit(stage, point, NEW_KEYS[stage](number + 1))
            if stage == "ingest":
                # The next stages require a table of the contract without the changes above.
                self.tally.note(unexpected_exit(self.workspace.run(stage), 0))
        yield from self.tally.goals()
        expected = {p.partition("@")[0] for each in (BEFORE, AFTER) for points in each.values() for p in points}
        expected -= set(ONLY_REMOTE) if self.workspace.name == "local" else set()
        yield Goal(
            f"failpoints fired with {self.action}", self.workspace.name, len(expected & self.fired), len(expected)
        )

    def _prepare(self) -> None:
        """Create the golden result, and an old table version that must stay readable."""
        self.golden.write(ROWS)
        for stage in ("ingest", "train", "score"):
            done = self.golden.run(stage, *([DATE] if stage == "score" else []))
            self.tally.note(unexpected_exit(done, 0))
        self.workspace.write(OLD_ROWS)
        self.tally.note(unexpected_exit(self.workspace.run("ingest"), 0))
        self.old = self.workspace.rows()
        self.workspace.write(ROWS)

    def _fail_before_commit(self, stage: str, point: str) -> None:
        report(f"{self.workspace.name}: {self.action} at {point}")
        options = [DATE] if stage == "score" else []
        before = (self.workspace.rows(), self.workspace.predictions(), self.workspace.store.names("models", "shapes"))
        running = self.workspace.start(stage, *options, fail=f"{point}=once:{self.action}")
        done = running.wait()
        self.fired |= {name for name, _ in running.fired()}
        if point in IN_WORKERS:
            self._check_worker_fault(done, point)
            return
        codes = (
            (INFRASTRUCTURE,) if point.partition("@")[0] in IN_RANKS else (KILLED if self.action == "kill9" else BUG,)
        )
        after = (self.workspace.rows(), self.workspace.predictions(), self.workspace.store.names("models", "shapes"))
        changed = "" if after == before else f"{point}: the failed run changed a table or a model"
        old = "" if stage != "ingest" or after[0] == self.old else f"{point}: the old version has changed"
        self.tally.note(unexpected_exit(done, *codes), changed, old)

    def _check_worker_fault(self, done: Done, point: str) -> None:
        """Check that Spark repeated the failed task, that no row is lost, and that the run reports the failure."""
        failed = result_of(done).get("details", {}).get("failed_tasks", 0)
        self.tally.note(unexpected_exit(done, 0), "" if failed else f"{point}: the failed task is not reported")
        if done.code == 0:
            self._check_result("score")
            self.workspace.remove_predictions()

    def _check_result(self, stage: str) -> None:
        """Run the stage without a fault and compare with the golden result."""
        options = [DATE] if stage == "score" else []
        done = self.workspace.run(stage, *options)
        problems = [unexpected_exit(done, 0)]
        if stage == "ingest":
            problems.append(
                "" if self.workspace.rows() == self.golden.rows() else "the rows differ from the golden ones"
            )
            problems.append(
                "" if self.workspace.rejects() == self.golden.rejects() else "the number of rejects differs"
            )
        if stage == "train":
            problems.append(
                "" if self.workspace.metrics() == self.golden.metrics() else "the metrics differ from the golden ones"
            )
        if stage == "score":
            same = self.workspace.predictions() == self.golden.predictions()
            problems.append("" if same else "the predictions differ from the golden ones")
        self.tally.note(*problems)

    def _fail_after_commit(self, stage: str, point: str, new: str) -> None:
        report(f"{self.workspace.name}: {self.action} at {point}")
        table = {"ingest": CLEAN, "score": PREDICTIONS}.get(stage)
        running = self.workspace.start(stage, new, fail=f"{point}={self.action}")
        done = running.wait()
        self.fired |= {name for name, _ in running.fired()}
        before = self.workspace.versions(table) if table else len(self.workspace.store.names("models", "shapes"))
        rerun = self.workspace.run(stage, new)
        after = self.workspace.versions(table) if table else len(self.workspace.store.names("models", "shapes"))
        repeated = "" if before == after else f"{point}: the rerun created {after - before} more versions"
        outcome = result_of(rerun).get("outcome")
        wrong = "" if outcome == "already_committed" else f"{point}: the outcome of the rerun is {outcome}"
        self.tally.note(
            unexpected_exit(done, KILLED if self.action == "kill9" else BUG), unexpected_exit(rerun, 0), repeated, wrong
        )


def terminate_at_each_point(workspace: Workspace) -> Iterator[Goal]:
    """Send SIGTERM while a stage hangs at each failpoint of the driver: exit 75 within ten seconds."""
    tally = Tally("SIGTERM at each failpoint: exit 75 in 10 s", workspace.name)
    workspace.write(ROWS)
    for stage in ("ingest", "train", "score"):
        for point in BEFORE[stage]:
            if point in IN_WORKERS or point.partition("@")[0] in IN_RANKS or point in ONLY_REMOTE:
                continue
            report(f"{workspace.name}: SIGTERM at {point}")
            running = workspace.start(stage, fail=f"{point}=once:hang")
            reached = running.wait_fired()
            started = time.monotonic()
            running.send(signal.SIGTERM)
            done = running.wait(60)
            seconds = time.monotonic() - started
            slow = f"{point}: ended after {seconds:.0f} s" if seconds > 10 else ""
            tally.note("" if reached else f"{point} was never reached", unexpected_exit(done, INFRASTRUCTURE), slow)
        tally.note(unexpected_exit(workspace.run(stage), 0))
    yield from tally.goals()
