"""Fault tests of a running stage: daemons, executors or workers are killed, or a service is unavailable."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from chaos.goals import Goal, Tally
from chaos.points import DATE, INFRASTRUCTURE
from chaos.races import start_suspended
from chaos.workspace import ROWS, Workspace, report, result_of, unexpected_exit
from millrace.tables.versions import CLEAN, PREDICTIONS
from pipelines.hadoop.cluster import Cluster
from tests.millrace.storage.proxy import DroppingProxy

CONFIGURATION = 78
STANDALONE = """
spark:
  master: {master}
  driver_memory: 1g
  conf:
    spark.executor.cores: 1
    spark.executor.memory: 1g
    spark.cores.max: 2
    spark.scheduler.minRegisteredResourcesRatio: 1.0
    spark.executorEnv.MILLRACE_FAIL: "{fail}"
    spark.executorEnv.MILLRACE_FAIL_LOG: {log}
store:
  root: {root}
"""


def _difference(workspace: Workspace, golden: Workspace, stage: str) -> str:
    """Say how a stage's result differs from the golden one; empty if it does not."""
    if stage == "train":
        return "" if workspace.metrics() == golden.metrics() else "train: the metrics differ from the golden ones"
    got, expected = (w.rows() if stage == "ingest" else w.predictions() for w in (workspace, golden))
    return "" if got == expected else f"{stage}: the rows differ from the golden ones"


def namenode_down(
    workspace: Workspace, golden: Workspace, cluster: Cluster, seconds_down: dict[str, float]
) -> Iterator[Goal]:
    """Kill the NameNode while a stage is suspended at a failpoint, restart it later: the stage waits and succeeds.

    Args:
        workspace: An empty store on the cluster.
        golden: The workspace with the expected results.
        cluster: The cluster whose NameNode is killed.
        seconds_down: Seconds until the restart, by failpoint in the order of the stages.
    """
    tally = Tally("NameNode down, in seconds " + "/".join(f"{s:.0f}" for s in seconds_down.values()), workspace.name)
    workspace.write(ROWS)
    for point, seconds in seconds_down.items():
        report(f"{workspace.name}: NameNode down for {seconds} s at {point}")
        stage = "train" if point.startswith(("train", "publish")) else point.partition(".")[0]
        options = [DATE] if stage == "score" else []
        running = start_suspended(workspace, stage, point, *options)
        cluster.kill("namenode")
        for pid in {pid for _, pid in running.fired()}:
            running.send(signal.SIGCONT, pid)
        time.sleep(seconds)
        cluster.restart("namenode", tied=True)  # in this thread: a tied daemon ends with the thread that started it
        done = running.wait()
        tally.note(unexpected_exit(done, 0), _difference(workspace, golden, stage))
        if stage == "score":
            workspace.remove_predictions()
    yield from tally.goals()


def one_datanode_killed(workspace: Workspace, golden: Workspace, cluster: Cluster) -> Iterator[Goal]:
    """Kill one of three DataNodes during each stage: the results stay the same."""
    tally = Tally("one DataNode killed during a stage", workspace.name)
    workspace.write(ROWS)
    for stage, point, name in (
        ("ingest", "ingest.before_reading", "datanode-1"),
        ("train", "train.before_epoch", "datanode-2"),
        ("score", "score.before_tasks", "datanode-3"),
    ):
        report(f"{workspace.name}: {name} killed at {point}")
        running = start_suspended(workspace, stage, point, *([DATE] if stage == "score" else []))
        cluster.kill(name)
        deadline = time.monotonic() + 5
        while running.process.poll() is None and (time.monotonic() < deadline or not running.fired()):
            for pid in {pid for _, pid in running.fired()}:
                running.send(signal.SIGCONT, pid)  # the ranks are suspended one after another
            time.sleep(0.2)
        done = running.wait()
        cluster.restart(name, tied=True)
        tally.note(unexpected_exit(done, 0), _difference(workspace, golden, stage))
    yield from tally.goals()


def all_datanodes_killed(workspace: Workspace, cluster: Cluster) -> Iterator[Goal]:
    """Kill all DataNodes: the stage fails within its timeout, names a file, and the table keeps its version."""
    tally = Tally("all DataNodes killed: exit 75, a file is named", workspace.name)
    names = [name for name in cluster.members if name.startswith("datanode")]
    version = workspace.versions(CLEAN)
    for stage, point in (("score", "score.before_tasks"), ("ingest", "ingest.before_commit")):
        report(f"{workspace.name}: all DataNodes killed at {point}")
        new = "--date=2024-05-05" if stage == "score" else "contract.min_rows=77"
        running = start_suspended(workspace, stage, point, new, "store.wait_s=20")
        for name in names:
            cluster.kill(name)
        running.send(signal.SIGCONT)
        done = running.wait(500)
        for name in names:
            cluster.restart(name, tied=True)
        reason = str(result_of(done).get("reason", ""))
        named = (
            "" if ".parquet" in reason or "_delta_log" in reason or "blk_" in reason else f"'{reason}' names no file"
        )
        unchanged = "" if workspace.versions(CLEAN) == version else f"{stage}: the table has a new version"
        tally.note(unexpected_exit(done, INFRASTRUCTURE), named, unchanged)
    yield from tally.goals()


def full_quota(workspace: Workspace, golden: Workspace, cluster: Cluster) -> Iterator[Goal]:
    """Set a quota smaller than a stage's output: exit 75, nothing committed; without the quota the stage succeeds."""
    report(f"{workspace.name}: quota")
    tally = Tally("space quota below the output: exit 75, then success", workspace.name)
    workspace.write(ROWS)
    workspace.store.put(b"x", "keep")
    path = workspace.root.removeprefix(cluster.hdfs)
    for stage in ("ingest", "train", "score"):
        options = [DATE] if stage == "score" else []
        cluster.admin("-setSpaceQuota", str(_used(workspace, cluster) + 200_000), path)
        before = (workspace.rows(), workspace.store.names("models", "shapes"), workspace.predictions())
        done = workspace.run(stage, *options)
        cluster.admin("-clrSpaceQuota", path)
        after = (workspace.rows(), workspace.store.names("models", "shapes"), workspace.predictions())
        reason = str(result_of(done).get("reason", ""))
        named = "" if "quota" in reason.lower() else f"{stage}: '{reason}' does not name the quota"
        unchanged = "" if before == after else f"{stage}: the failed run changed a table or a model"
        tally.note(unexpected_exit(done, INFRASTRUCTURE), named, unchanged)
        tally.note(unexpected_exit(workspace.run(stage, *options), 0), _difference(workspace, golden, stage))
        staged = workspace.store.files.names(workspace.store.uri(".staging"))
        tally.note("" if not staged else f"{stage}: files left in staging: {staged}")
    yield from tally.goals()


def _used(workspace: Workspace, cluster: Cluster) -> int:
    files = workspace.store.files
    return sum(2 * files.size(f"{workspace.root}/{name}") for name in files.walk(workspace.root))


def no_permission(workspace: Workspace, cluster: Cluster) -> Iterator[Goal]:
    """Run as a user without permission on the store: exit 78, and the error names the user."""
    report(f"{workspace.name}: user without permission")
    tally = Tally("user without permission: exit 78, user named, nothing committed", workspace.name)
    before = (workspace.versions(CLEAN), workspace.versions(PREDICTIONS), workspace.store.names("models", "shapes"))
    for stage, new in (("ingest", "contract.min_rows=88"), ("train", "train.seed=88"), ("score", "--date=2024-08-08")):
        done = workspace.run(stage, new, HADOOP_USER_NAME="stranger")
        named = "" if "stranger" in done.err else f"{stage}: the error does not name the user"
        tally.note(unexpected_exit(done, CONFIGURATION), named)
    after = (workspace.versions(CLEAN), workspace.versions(PREDICTIONS), workspace.store.names("models", "shapes"))
    tally.note("" if before == after else f"versions before {before}, after {after}")
    yield from tally.goals()


def replies_dropped(workspace: Workspace, golden: Workspace, cluster: Cluster, drop: float) -> Iterator[Goal]:
    """Run all stages through a proxy that drops some of the NameNode's replies."""
    report(f"{workspace.name}: replies dropped")
    tally = Tally("stages with dropped replies of the NameNode", workspace.name)
    with DroppingProxy(cluster.hdfs.removeprefix("hdfs://"), drop=drop, seed=5) as proxy:
        path = workspace.root.removeprefix(cluster.hdfs)
        proxied = Workspace(workspace.folder, f"hdfs://{proxy.address}{path}", None, workspace.settings)
        proxied.write(ROWS)
        for stage in ("ingest", "train", "score"):
            done = proxied.run(stage, *([DATE] if stage == "score" else []))
            tally.note(unexpected_exit(done, 0), _difference(workspace, golden, stage))
    yield from tally.goals()
    has_one = workspace.versions(CLEAN) == 0 and workspace.store.names("models", "shapes") == ["1"]
    yield Goal(f"one version of table and model after {proxy.dropped} dropped replies", workspace.name, int(has_one), 1)


def random_kills(workspace: Workspace, golden: Workspace, stage: str, moments: list[float]) -> Iterator[Goal]:
    """Kill a stage with SIGKILL at random times; each next attempt starts from what the last one left."""
    tally = Tally(f"kill9 of {stage} at {len(moments)} random times", workspace.name)
    for moment in moments:
        report(f"{workspace.name}: kill9 of {stage} after {moment:.1f} s")
        running = workspace.start(stage, *([DATE] if stage == "score" else []))
        time.sleep(moment)
        running.send(signal.SIGKILL)
        running.wait()
        rows = workspace.rows() if stage == "ingest" else workspace.predictions()
        is_complete = rows is None or rows[0] == ROWS
        tally.note("" if is_complete else f"after {moment:.1f} s: {rows} rows are visible")
    done = workspace.run(stage, *([DATE] if stage == "score" else []))
    tally.note(unexpected_exit(done, 0), _difference(workspace, golden, stage))
    yield from tally.goals()


def executors_killed(workspace: Workspace, golden: Workspace, cluster: Cluster) -> Iterator[Goal]:
    """Kill an executor, then a Python worker, on a standalone Spark cluster: Spark repeats their tasks."""
    tally = Tally("executor or Python worker killed: same result, reported", workspace.name)
    workspace.write(ROWS)
    log = workspace.folder / "workers.log"
    workspace.profile = str(workspace.folder / "standalone.yaml")
    fields = {"master": cluster.spark_master, "log": log, "root": workspace.root}
    Path(workspace.profile).write_text(STANDALONE.format(fail="", **fields))
    report(f"{workspace.name}: executor killed in ingest")
    running = start_suspended(workspace, "ingest", "ingest.before_checks")
    victims = _executors(cluster)
    for victim in victims[:1]:
        victim.kill()
    running.send(signal.SIGCONT)
    done = running.wait()
    tally.note(
        unexpected_exit(done, 0), _difference(workspace, golden, "ingest"), "" if victims else "no executor was found"
    )
    tally.note(unexpected_exit(workspace.run("train"), 0))
    Path(workspace.profile).write_text(STANDALONE.format(fail="score.before_batch=once:kill9", **fields))
    report(f"{workspace.name}: Python worker killed in score")
    done = workspace.run("score", DATE)
    failed = result_of(done).get("details", {}).get("failed_tasks", 0)
    was_killed = "" if log.exists() and "score.before_batch" in log.read_text() else "no worker was killed"
    tally.note(
        unexpected_exit(done, 0),
        _difference(workspace, golden, "score"),
        was_killed,
        "" if failed else "no failed task is reported",
    )
    yield from tally.goals()


def _executors(cluster: Cluster) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            inside = Path(process.cwd()).is_relative_to(cluster.folder)
            if inside and any("CoarseGrainedExecutorBackend" in part for part in process.cmdline()):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found
