"""Where a fault test runs: a working folder, a store on one file system, and the golden result beside it."""

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
OWN = ("run_id", "model_version", "model_digest", "table_version", "logical_date", "scored_at")
"""Columns of predictions that differ between runs which did the same."""
FAST = ("train.epochs=1", "train.batch_size=256", "evaluate.gates={}")
TIMEOUT_S = 300


@dataclass
class Place:
    """A product in a folder of its own.

    Attributes:
        folder: Working folder; the commands run here.
        root: Root of the store.
        cluster: The Hadoop below it, if there is one.
        settings: Overrides for every command.
    """

    folder: Path
    root: str
    cluster: Cluster | None = None
    settings: tuple[str, ...] = FAST
    profile: str = "local"
    runs: int = field(default=0, init=False)

    @property
    def name(self) -> str:
        """``hdfs`` or ``local``."""
        return "hdfs" if self.root.startswith("hdfs://") else "local"

    @property
    def store(self) -> Store:
        """The store."""
        return Store(self.root)

    def write(self, rows: int = ROWS) -> None:
        """Write the product with so many rows."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_product(self.folder, rows)

    def start(self, stage: str, *settings: str, fail: str = "", **env: str) -> "Running":
        """Start a stage in a process of its own."""
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
        return Running(process, log, out, err)

    def run(self, stage: str, *settings: str, fail: str = "", **env: str) -> Done:
        """Run a stage to its end."""
        return self.start(stage, *settings, fail=fail, **env).wait()

    def rows(self) -> tuple[int, str] | None:
        """Count and order-free digest of the clean table; None before there is one."""
        return self._digest(CLEAN)

    def rejects(self) -> int:
        """Rows in the table of rejects."""
        try:
            return find_table(self.store, PRODUCT, "rejects").rows_of()
        except ArtifactNotFound:
            return 0

    def predictions(self) -> tuple[int, str] | None:
        """The same of the predictions."""
        return self._digest(PREDICTIONS, OWN)

    def metrics(self) -> dict[str, float]:
        """The newest model's metrics; none before there is one."""
        if not self.store.names("models", PRODUCT):
            return {}
        return flatten(metrics_of(self.store, PRODUCT)["model"])

    def versions(self, table: str) -> int:
        """Newest version of a table; -1 before there is one."""
        try:
            return find_table(self.store, PRODUCT, table).version
        except ArtifactNotFound:
            return -1

    def _digest(self, table: str, drop: tuple[str, ...] = ()) -> tuple[int, str] | None:
        try:
            return rows_digest(self.store, PRODUCT, table, drop)
        except ArtifactNotFound:
            return None

    def beside(self, name: str) -> "Place":
        """Another product of this kind: a folder and a store of its own."""
        folder = self.folder.parent / name
        root = f"{self.root.rpartition('/')[0]}/{name}" if self.name == "hdfs" else str(folder / "store")
        return Place(folder, root, self.cluster, self.settings, self.profile)


@dataclass
class Running:
    """A stage at work."""

    process: "subprocess.Popen[bytes]"
    log: Path
    out: Path
    err: Path

    def fired(self) -> list[tuple[str, int]]:
        """Failpoints that have fired, with the process of each."""
        return fired(self.log)

    def wait_fired(self, timeout_s: float = TIMEOUT_S) -> bool:
        """Wait until a failpoint fires; False if the process ends before it does."""
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
        """Wait for the end; what is left of the run is killed then."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            code = -999
        finally:
            self.end()
        return Done(code, self.out.read_text(errors="replace"), self.err.read_text(errors="replace"))

    def end(self) -> None:
        """Kill what is left of the run's session: a killed driver's JVM ends by itself, but not at once."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) == self.process.pid:
                    process.kill()
        self.process.wait()


@contextlib.contextmanager
def hadoop(folder: Path, *, spark_workers: int = 0) -> Iterator[Cluster]:
    """A NameNode, three DataNodes, and Spark's own cluster if it is asked for."""
    from pipelines.hadoop.layout import Size

    cluster = Cluster(folder)
    cluster.start(Size(yarn=False, spark_workers=spark_workers), tied=True)
    try:
        yield cluster
    finally:
        cluster.stop()


def complaint_of(done: Done, *codes: int) -> str:
    """What to say of a run that did not end with one of these codes."""
    if done.code in codes:
        return ""
    lines = [line for line in done.err.splitlines() if "rror" in line] or done.err.splitlines()
    return f"ended with {done.code}, not {codes}: {lines[-1][:200] if lines else ''}"


def result_of(done: Done) -> dict[str, Any]:
    """The stage's last line; empty where it had none."""
    try:
        return done.result
    except (ValueError, IndexError):
        return {}


def say(text: str) -> None:
    """Progress, on stderr."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')}  {text}\n")
    sys.stderr.flush()
