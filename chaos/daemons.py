"""Daemons, executors and workers that die or go away while a stage is at work."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from chaos.goals import Goal, Tally
from chaos.place import ROWS, Place, complaint_of, result_of, say
from chaos.points import DATE, INFRASTRUCTURE
from chaos.rivals import stopped
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


def _same(place: Place, golden: Place, stage: str) -> str:
    if stage == "train":
        return "" if place.metrics() == golden.metrics() else "train: the metrics differ"
    mine, wanted = (p.rows() if stage == "ingest" else p.predictions() for p in (place, golden))
    return "" if mine == wanted else f"{stage}: not the golden rows"


def namenode_away(place: Place, golden: Place, cluster: Cluster, away: dict[str, float]) -> Iterator[Goal]:
    """The NameNode is killed while a stage stands at a point, and comes back after a while: the stage waits, and ends.

    Args:
        place: An empty store on the cluster.
        golden: What has to come out.
        cluster: Its NameNode is killed.
        away: Seconds, by failpoint in the order of the stages.
    """
    tally = Tally("NameNode away, in seconds " + "/".join(f"{s:.0f}" for s in away.values()), place.name)
    place.write(ROWS)
    for point, seconds in away.items():
        say(f"{place.name}: NameNode away for {seconds} s at {point}")
        stage = "train" if point.startswith(("train", "publish")) else point.partition(".")[0]
        options = [DATE] if stage == "score" else []
        running = stopped(place, stage, point, *options)
        cluster.kill("namenode")
        for pid in {pid for _, pid in running.fired()}:
            running.send(signal.SIGCONT, pid)
        time.sleep(seconds)
        cluster.restart("namenode", tied=True)  # by this thread: a tied daemon ends with the thread that started it
        done = running.wait()
        tally.note(complaint_of(done, 0), _same(place, golden, stage))
        _forget(place, stage)
    yield from tally.goals()


def _forget(place: Place, stage: str) -> None:
    """Make the stage's work new again; a stage that comes later needs what this one made."""
    if stage == "score":
        place.store.remove("tables", "shapes", PREDICTIONS)


def one_datanode_gone(place: Place, golden: Place, cluster: Cluster) -> Iterator[Goal]:
    """One of three DataNodes dies in the middle of each stage: no visible effect."""
    tally = Tally("one DataNode killed in a stage", place.name)
    place.write(ROWS)
    for stage, point, name in (
        ("ingest", "ingest.before_reading", "datanode-1"),
        ("train", "train.before_epoch", "datanode-2"),
        ("score", "score.before_tasks", "datanode-3"),
    ):
        say(f"{place.name}: {name} killed at {point}")
        running = stopped(place, stage, point, *([DATE] if stage == "score" else []))
        cluster.kill(name)
        deadline = time.monotonic() + 5
        while running.process.poll() is None and (time.monotonic() < deadline or not running.fired()):
            for pid in {pid for _, pid in running.fired()}:
                running.send(signal.SIGCONT, pid)  # the ranks stop one after another
            time.sleep(0.2)
        done = running.wait()
        cluster.restart(name, tied=True)
        tally.note(complaint_of(done, 0), _same(place, golden, stage))
    yield from tally.goals()


def all_datanodes_gone(place: Place, cluster: Cluster) -> Iterator[Goal]:
    """Without any DataNode a stage ends in time, names a file, and the table keeps its version."""
    tally = Tally("all DataNodes killed: exit 75, names a file", place.name)
    names = [name for name in cluster.members if name.startswith("datanode")]
    version = place.versions(CLEAN)
    for stage, point in (("score", "score.before_tasks"), ("ingest", "ingest.before_commit")):
        say(f"{place.name}: all DataNodes killed at {point}")
        new = "--date=2024-05-05" if stage == "score" else "contract.min_rows=77"
        running = stopped(place, stage, point, new, "store.wait_s=20")
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
        kept = "" if place.versions(CLEAN) == version else f"{stage}: there is a new version"
        tally.note(complaint_of(done, INFRASTRUCTURE), named, kept)
    yield from tally.goals()


def full_quota(place: Place, golden: Place, cluster: Cluster) -> Iterator[Goal]:
    """The quota is smaller than what a stage writes: exit 75, nothing committed; with room again it ends well."""
    say(f"{place.name}: quota")
    tally = Tally("space quota below the output: exit 75, then well", place.name)
    place.write(ROWS)
    place.store.put(b"x", "keep")
    path = place.root.removeprefix(cluster.hdfs)
    for stage in ("ingest", "train", "score"):
        options = [DATE] if stage == "score" else []
        cluster.admin("-setSpaceQuota", str(_used(place, cluster) + 200_000), path)
        before = (place.rows(), place.store.names("models", "shapes"), place.predictions())
        done = place.run(stage, *options)
        cluster.admin("-clrSpaceQuota", path)
        after = (place.rows(), place.store.names("models", "shapes"), place.predictions())
        reason = str(result_of(done).get("reason", ""))
        told = "" if "quota" in reason.lower() else f"{stage}: '{reason}' does not say quota"
        visible = "" if before == after else f"{stage}: something became visible"
        tally.note(complaint_of(done, INFRASTRUCTURE), told, visible)
        tally.note(complaint_of(place.run(stage, *options), 0), _same(place, golden, stage))
        staged = place.store.files.names(place.store.uri(".staging"))
        tally.note("" if not staged else f"{stage}: left in staging: {staged}")
    yield from tally.goals()


def _used(place: Place, cluster: Cluster) -> int:
    files = place.store.files
    return sum(2 * files.size(f"{place.root}/{name}") for name in files.walk(place.root))


def no_permission(place: Place, cluster: Cluster) -> Iterator[Goal]:
    """Another user, whom the store's folders do not let in: exit 78 with the user's name."""
    say(f"{place.name}: another user")
    tally = Tally("another user: exit 78, named, nothing committed", place.name)
    before = (place.versions(CLEAN), place.versions(PREDICTIONS), place.store.names("models", "shapes"))
    for stage, new in (("ingest", "contract.min_rows=88"), ("train", "train.seed=88"), ("score", "--date=2024-08-08")):
        done = place.run(stage, new, HADOOP_USER_NAME="stranger")
        named = "" if "stranger" in done.err else f"{stage}: the user is not named"
        tally.note(complaint_of(done, CONFIGURATION), named)
    after = (place.versions(CLEAN), place.versions(PREDICTIONS), place.store.names("models", "shapes"))
    tally.note("" if before == after else f"committed: {before} {after}")
    yield from tally.goals()


def replies_dropped(place: Place, golden: Place, cluster: Cluster, drop: float) -> Iterator[Goal]:
    """All stages reach the NameNode through a proxy that swallows replies."""
    say(f"{place.name}: replies dropped")
    tally = Tally("stages while the NameNode's replies are dropped", place.name)
    with DroppingProxy(cluster.hdfs.removeprefix("hdfs://"), drop=drop, seed=5) as proxy:
        path = place.root.removeprefix(cluster.hdfs)
        there = Place(place.folder, f"hdfs://{proxy.address}{path}", None, place.settings)
        there.write(ROWS)
        for stage in ("ingest", "train", "score"):
            done = there.run(stage, *([DATE] if stage == "score" else []))
            tally.note(complaint_of(done, 0), _same(place, golden, stage))
    yield from tally.goals()
    one = place.versions(CLEAN) == 0 and place.store.names("models", "shapes") == ["1"]
    yield Goal(f"one version of each after {proxy.dropped} dropped replies", place.name, int(one), 1)


def random_kills(place: Place, golden: Place, stage: str, moments: list[float]) -> Iterator[Goal]:
    """kill9 at moments that nobody chose, each followed by the next try."""
    tally = Tally(f"kill9 of {stage} at {len(moments)} moments", place.name)
    for moment in moments:
        say(f"{place.name}: kill9 of {stage} after {moment:.1f} s")
        running = place.start(stage, *([DATE] if stage == "score" else []))
        time.sleep(moment)
        running.send(signal.SIGKILL)
        running.wait()
        rows = place.rows() if stage == "ingest" else place.predictions()
        whole = rows is None or rows[0] == ROWS
        tally.note("" if whole else f"after {moment:.1f} s: {rows} rows are visible")
    done = place.run(stage, *([DATE] if stage == "score" else []))
    tally.note(complaint_of(done, 0), _same(place, golden, stage))
    yield from tally.goals()


def executors_killed(place: Place, golden: Place, cluster: Cluster) -> Iterator[Goal]:
    """On Spark's own cluster: an executor, and a Python worker, die in the middle; their tasks are done again."""
    tally = Tally("executor or Python worker killed: same result, told", place.name)
    place.write(ROWS)
    log = place.folder / "workers.log"
    place.profile = str(place.folder / "standalone.yaml")
    fields = {"master": cluster.spark_master, "log": log, "root": place.root}
    Path(place.profile).write_text(STANDALONE.format(fail="", **fields))
    say(f"{place.name}: executor killed in ingest")
    running = stopped(place, "ingest", "ingest.before_checks")
    victims = _executors(cluster)
    for victim in victims[:1]:
        victim.kill()
    running.send(signal.SIGCONT)
    done = running.wait()
    tally.note(complaint_of(done, 0), _same(place, golden, "ingest"), "" if victims else "there was no executor")
    tally.note(complaint_of(place.run("train"), 0))
    Path(place.profile).write_text(STANDALONE.format(fail="score.before_batch=once:kill9", **fields))
    say(f"{place.name}: Python worker killed in score")
    done = place.run("score", DATE)
    told = result_of(done).get("details", {}).get("failed_tasks", 0)
    struck = "" if log.exists() and "score.before_batch" in log.read_text() else "no worker was killed"
    tally.note(complaint_of(done, 0), _same(place, golden, "score"), struck, "" if told else "no word of failed tasks")
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
