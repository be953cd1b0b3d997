"""Workspaces of fault tests: a working folder with a product, and a store on one file system."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from millrace.errors import ArtifactNotFound
from millrace.failpoints import ENVIRONMENT, LOG, fired
from millrace.storage import Store
from millrace.tables.versions import CLEAN, PREDICTIONS, find_table
from pipelines.hadoop.cluster import Cluster
from tests.e2e.commands import BIN, ROOT, Done, metrics_of, rows_digest
from tests.made_up import write_product
from train.evaluation.metrics import flatten

PRODUCT = "shapes"
FILE = "shapes.yaml"
OLD_ROWS, ROWS = 1_500, 2_000
RUN_COLUMNS = ("run_id", "model_version", "model_digest", "table_version", "logical_date", "scored_at")
"""Columns of predictions that differ between runs with the same result."""
FAST = ("train.epochs=1", "train.batch_size=256", "evaluate.gates={}")
TIMEOUT_S = 300


@dataclass
class Workspace:
    """A product in its own folder, with its own store.

    Attributes:
        folder: Working folder of the commands.
        root: Root of the store.
        cluster: The Hadoop cluster that holds the store; None for the local disk.
        settings: Settings that override the product file in every command.
        profile: Profile of every command.
        runs: How many commands were started.
    """

    folder: Path
    root: str
    cluster: Cluster | None = None
    settings: tuple[str, ...] = FAST
    profile: str = "local"
    runs: int = field(default=0, init=False)

    @property
    def name(self) -> str:
        """The kind of file system: ``hdfs`` or ``local``."""
        return "hdfs" if self.root.startswith("hdfs://") else "local"

    @property
    def store(self) -> Store:
        """The store."""
        return Store(self.root)

    def write(self, rows: int = ROWS) -> None:
        """Write the product file, and source data with this many rows."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_product(self.folder, rows)

    def start(self, stage: str, *settings: str, fail: str = "", **env: str) -> "RunningStage":
        """Start a stage in a new process."""
        self.runs += 1
        log = self.folder / f"fired-{self.runs}.log"
        overrides = [f"store.root={self.root}", *self.settings, *(s for s in settings if not s.startswith("--"))]
        options = [s for s in settings if s.startswith("--")]
        command = [str(BIN / "millrace"), stage, FILE, "--profile", self.profile, *options]
        command += [part for setting in overrides for part in ("--set", setting)]
        environment = {
            **os.environ,
            **(self.cluster.env if self.cluster else {}),
            ENVIRONMENT: fail,
            LOG: str(log),
            "PYTHONPATH": str(ROOT),
            "MILLRACE_CACHE": str(self.folder / "cache"),
            **env,
        }
        out, err = (self.folder / f"{self.runs}.{name}" for name in ("out", "err"))
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=stdout, stderr=stderr, start_new_session=True
            )
        return RunningStage(process, log, out, err)

    def run(self, stage: str, *settings: str, fail: str = "", **env: str) -> Done:
        """Run a stage and wait for its end."""
        return self.start(stage, *settings, fail=fail, **env).wait()

    def rows(self) -> tuple[int, str] | None:
        """Return the row count and an order-independent digest of the clean table; None if it does not exist."""
        return self._digest(CLEAN)

    def rejects(self) -> int:
        """Return the row count of the rejects table; 0 if it does not exist."""
        try:
            return find_table(self.store, PRODUCT, "rejects").rows_of()
        except ArtifactNotFound:
            return 0

    def predictions(self) -> tuple[int, str] | None:
        """Return the row count and digest of the predictions; None if they do not exist."""
        return self._digest(PREDICTIONS, RUN_COLUMNS)

    def metrics(self) -> dict[str, float]:
        """Return the metrics of the newest model version; empty if there is none."""
        if not self.store.names("models", PRODUCT):
            return {}
        return flatten(metrics_of(self.store, PRODUCT)["model"])

    def versions(self, table: str) -> int:
        """Return the newest version of a table; -1 if the table does not exist."""
        try:
            return find_table(self.store, PRODUCT, table).version
        except ArtifactNotFound:
            return -1

    def remove_predictions(self) -> None:
        """Delete the predictions, so that the next score run computes them again."""
        self.store.remove("tables", PRODUCT, PREDICTIONS)

    def _digest(self, table: str, drop: tuple[str, ...] = ()) -> tuple[int, str] | None:
        try:
            return rows_digest(self.store, PRODUCT, table, drop)
        except ArtifactNotFound:
            return None

    def sibling(self, name: str) -> "Workspace":
        """Return a workspace next to this one, on the same file system, with its own folder and store."""
        folder = self.folder.parent / name
        root = f"{self.root.rpartition('/')[0]}/{name}" if self.name == "hdfs" else str(folder / "store")
        return Workspace(folder, root, self.cluster, self.settings, self.profile)


@dataclass
class RunningStage:
    """A stage that was started.

    Attributes:
        process: The driver.
        log: File to which failpoints write when they fire.
        out: File with the stage's stdout.
        err: File with the stage's stderr.
    """

    process: "subprocess.Popen[bytes]"
    log: Path
    out: Path
    err: Path

    def fired(self) -> list[tuple[str, int]]:
        """Return the failpoints that have fired, each with its process id."""
        return fired(self.log)

    def wait_fired(self, timeout_s: float = TIMEOUT_S) -> bool:
        """Wait until a failpoint fires; return False if the process ends first or the time is over."""
        end = time.monotonic() + timeout_s
        while not self.fired():
            if self.process.poll() is not None or time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def send(self, sig: signal.Signals, pid: int | None = None) -> None:
        """Send a signal to the driver, or to another process of the run."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid or self.process.pid, sig)

    def wait(self, timeout_s: float = TIMEOUT_S) -> Done:
        """Wait until the driver ends, then kill the remaining processes of the run."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            code = -999
        finally:
            self.end()
        return Done(code, self.out.read_text(errors="replace"), self.err.read_text(errors="replace"))

    def end(self) -> None:
        """Kill every process of the run's session: the JVM of a killed driver would end only some seconds later."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) == self.process.pid:
                    process.kill()
        self.process.wait()


@contextlib.contextmanager
def hadoop(folder: Path, *, spark_workers: int = 0) -> Iterator[Cluster]:
    """Run a NameNode, three DataNodes and, with ``spark_workers``, a standalone Spark cluster for the block."""
    from pipelines.hadoop.layout import Size

    cluster = Cluster(folder)
    cluster.start(Size(yarn=False, spark_workers=spark_workers), tied=True)
    try:
        yield cluster
    finally:
        cluster.stop()


def unexpected_exit(done: Done, *codes: int) -> str:
    """Describe a run that did not end with one of these exit codes; empty if it did."""
    if done.code in codes:
        return ""
    lines = [line for line in done.err.splitlines() if "rror" in line] or done.err.splitlines()
    return f"exit code {done.code}, expected {codes}: {lines[-1][:200] if lines else ''}"


def result_of(done: Done) -> dict[str, Any]:
    """Return the JSON result on the stage's stdout; empty if there is none."""
    try:
        return done.result
    except (ValueError, IndexError):
        return {}


def report(text: str) -> None:
    """Write a line of progress to stderr."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')}  {text}\n")
    sys.stderr.flush()
