"""Run the long fault tests of the stages (``make chaos``) and print a table of results and goals.

``python -m chaos points`` runs one part.
"""

import contextlib
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from chaos import appends, daemons, races
from chaos.goals import Goal, show
from chaos.points import DATE, Chain, terminate_at_each_point
from chaos.workspace import PRODUCT, ROWS, Workspace, hadoop, report
from millrace.config.sections.profile import Spark
from millrace.logs import configure_logging
from pipelines.hadoop.cluster import Cluster
from pipelines.jobs.session import build_session
from tests.e2e.faults_data import bad_files, flipped_bits
from tests.java import start_quickly

LONG = os.environ.get("CHAOS") == "long"
APPENDS = 10_000 if LONG else 1_000
DROPPED = 0.0002 if LONG else 0.002
"""Share of the NameNode's replies that are dropped; the long form has ten times as many appends and drops as many."""
SEED = 11


class Environment:
    """What all parts share: a folder, a Hadoop cluster, and the golden workspace.

    *Golden* is the result of an undisturbed run. Results after faults are compared with it.

    Args:
        folder: Folder for all workspaces.
        cluster: A running Hadoop cluster.
    """

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder, self.cluster = folder, cluster
        self._golden: Workspace | None = None

    def local(self, name: str) -> Workspace:
        """Return a workspace with an empty store on the local disk."""
        return Workspace(self.folder / "local" / name, str(self.folder / "local" / name / "store"))

    def hdfs(self, name: str) -> Workspace:
        """Return a workspace with an empty store on HDFS."""
        return Workspace(self.folder / "hdfs" / name, f"{self.cluster.hdfs}/{name}", self.cluster)

    def both(self, name: str) -> list[Workspace]:
        """Return one workspace on the local disk and one on HDFS."""
        return [self.local(name), self.hdfs(name)]

    @property
    def golden(self) -> Workspace:
        """The workspace in which all stages ran without a fault; created at the first use."""
        if self._golden is None:
            self._golden = self.local("golden")
            self._golden.write(ROWS)
            for stage in ("ingest", "train", "score"):
                done = self._golden.run(stage, *([DATE] if stage == "score" else []))
                if done.code:
                    raise RuntimeError(f"the undisturbed {stage} failed: {done.err[-2000:]}")
        return self._golden


def run_together(*parts: Iterator[Goal]) -> Iterator[Goal]:
    """Run several parts at the same time and yield their goals in order.

    A single stage leaves about a third of two cores idle while it starts. Only parts without timed goals run together.

    The first part runs in this thread. A Hadoop daemon ends with the thread that started it, so a part that restarts a
    daemon must be the first.
    """
    with ThreadPoolExecutor(len(parts)) as pool:
        others = [pool.submit(list, part) for part in parts[1:]]
        yield from list(parts[0])
        for other in others:
            yield from other.result()


def _data(environment: Environment) -> Iterator[Goal]:
    yield Goal(
        "single flipped bits: reported with the file name", "local", *flipped_bits(environment.golden.store, PRODUCT)
    )
    spark = build_session(Spark(master="local[2]", driver_memory="1g"), app_name="chaos")
    try:
        yield Goal(
            "bad files among 5,000: named in the error", "local", *bad_files(environment.folder / "parts", spark)
        )
    finally:
        spark.stop()


def _appends(environment: Environment) -> Iterator[Goal]:
    yield from appends.on_local_disk(environment.local("appends"), APPENDS)
    yield from appends.on_hdfs(environment.hdfs("appends"), environment.cluster, APPENDS, DROPPED, restart_every_s=60)
    for workspace in environment.both("killed-appends"):
        yield from appends.killed(workspace)


def _points(environment: Environment) -> Iterator[Goal]:
    chains = (Chain(environment.hdfs("points"), "kill9"), Chain(environment.local("points"), "raise"))
    yield from run_together(*(chain.goals() for chain in chains))


def _races(environment: Environment) -> Iterator[Goal]:
    workspaces = environment.both("races")
    yield from run_together(*(races.zombies(workspace) for workspace in workspaces))
    yield from run_together(*(races.duplicate_runs(workspace.sibling("duplicate-runs")) for workspace in workspaces))
    for workspace in workspaces:
        yield from races.append_races(workspace.sibling("append-races"), rounds=50)
        yield from races.readers(
            workspace.sibling("readers"), count=8, commits=500 if workspace.name == "local" else 100
        )


def _namenode(environment: Environment) -> Iterator[Goal]:
    # While the stages on HDFS wait for the NameNode, the stages on the local disk get SIGTERM.
    yield from run_together(_namenode_down(environment), terminate_at_each_point(environment.local("terminated")))


def _namenode_down(environment: Environment) -> Iterator[Goal]:
    seconds_down = {"ingest.before_commit": 60.0, "train.before_publish": 60.0, "score.before_commit": 60.0}
    yield from daemons.namenode_down(environment.hdfs("down-60"), environment.golden, environment.cluster, seconds_down)
    seconds_down = {"ingest.before_reading": 5.0, "train.before_measure": 5.0, "score.before_tasks": 5.0}
    yield from daemons.namenode_down(environment.hdfs("down-5"), environment.golden, environment.cluster, seconds_down)


def _datanodes(environment: Environment) -> Iterator[Goal]:
    workspace = environment.hdfs("datanodes")
    yield from daemons.one_datanode_killed(workspace, environment.golden, environment.cluster)
    yield from daemons.all_datanodes_killed(workspace, environment.cluster)


def _storage(environment: Environment) -> Iterator[Goal]:
    yield from daemons.replies_dropped(environment.hdfs("dropped"), environment.golden, environment.cluster, drop=0.01)


def _quota_and_permission(environment: Environment) -> Iterator[Goal]:
    workspace = environment.hdfs("quota")
    yield from daemons.full_quota(workspace, environment.golden, environment.cluster)
    yield from daemons.no_permission(workspace, environment.cluster)


def _kills(environment: Environment) -> Iterator[Goal]:
    # These parts only start stages and wait for them, so they do not disturb each other.
    rng, golden, parts = random.Random(SEED), environment.golden, []
    for workspace in environment.both("kills"):
        workspace.write(ROWS)
        moments = [rng.uniform(4, 16) for _ in range(8)]
        parts.append(daemons.random_kills(workspace, golden, "ingest", moments))
    yield from run_together(*parts, _quota_and_permission(environment))


def _executors(environment: Environment) -> Iterator[Goal]:
    with hadoop(environment.folder / "standalone", spark_workers=2) as cluster:
        workspace = Workspace(environment.folder / "hdfs" / "executors", f"{cluster.hdfs}/executors", cluster)
        yield from daemons.executors_killed(workspace, environment.golden, cluster)


PARTS: Final = {
    "data": _data,
    "appends": _appends,
    "points": _points,
    "races": _races,
    "namenode": _namenode,
    "datanodes": _datanodes,
    "storage": _storage,
    "kills": _kills,
    "executors": _executors,
}


def _run_part(name: str, environment: Environment) -> Iterator[Goal]:
    """Run a part; an exception becomes a missed goal, so that the other parts still run."""
    try:
        yield from PARTS[name](environment)
    except Exception:
        yield Goal(f"part {name}: finished without an exception", "", 0, 1, traceback.format_exc())


def main() -> None:
    """Run the named parts, or all of them; exit with 1 if a goal was missed."""
    configure_logging()
    start_quickly()
    if unknown := set(sys.argv[1:]) - PARTS.keys():
        sys.exit(f"unknown part {', '.join(sorted(unknown))}; the parts are {', '.join(PARTS)}")
    started = time.monotonic()
    goals: list[Goal] = []
    with tempfile.TemporaryDirectory(prefix="millrace-chaos-", ignore_cleanup_errors=True) as folder:
        with hadoop(Path(folder, "cluster")) as cluster, contextlib.suppress(KeyboardInterrupt):
            environment = Environment(Path(folder), cluster)
            for name in sys.argv[1:] or PARTS:
                report(f"part: {name}")
                for goal in _run_part(name, environment):
                    report(goal.summary)
                    goals.append(goal)
    show(goals, time.monotonic() - started)
    sys.exit(any(not goal.is_reached for goal in goals))


if __name__ == "__main__":
    main()
