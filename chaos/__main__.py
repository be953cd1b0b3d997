"""``make chaos``: the long fault tests; ends in a table of got / goal. ``python -m chaos points`` runs a part."""

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

from chaos import appends, daemons, rivals
from chaos.goals import Goal, show
from chaos.place import PRODUCT, ROWS, Place, hadoop, say
from chaos.points import DATE, Chain, terminate_everywhere
from millrace.config.sections.profile import Spark
from millrace.logs import configure_logging
from pipelines.hadoop.cluster import Cluster
from pipelines.jobs.session import build_session
from tests.e2e.faults_data import bad_files, flipped_bits
from tests.java import start_quickly

LONG = os.environ.get("CHAOS") == "long"
APPENDS = 10_000 if LONG else 1_000
DROPPED = 0.0002 if LONG else 0.002
"""Share of the NameNode's replies; a client waits for a lost one, and ten times as many appends shall lose as many."""
SEED = 11


class Ground:
    """Where the parts run: a folder, a cluster, and golden results that are made once."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder, self.cluster = folder, cluster
        self._golden: Place | None = None

    def local(self, name: str) -> Place:
        """An empty store on the local disk."""
        return Place(self.folder / "local" / name, str(self.folder / "local" / name / "store"))

    def hdfs(self, name: str) -> Place:
        """An empty store on HDFS."""
        return Place(self.folder / "hdfs" / name, f"{self.cluster.hdfs}/{name}", self.cluster)

    def both(self, name: str) -> list[Place]:
        """One of each."""
        return [self.local(name), self.hdfs(name)]

    @property
    def golden(self) -> Place:
        """All stages, undisturbed."""
        if self._golden is None:
            self._golden = self.local("golden")
            self._golden.write(ROWS)
            for stage in ("ingest", "train", "score"):
                done = self._golden.run(stage, *([DATE] if stage == "score" else []))
                if done.code:
                    raise RuntimeError(f"the undisturbed {stage} failed: {done.err[-2000:]}")
        return self._golden


def at_once(*parts: Iterator[Goal]) -> Iterator[Goal]:
    """Parts of both stores together: a stage that starts leaves a third of two cores idle. Little in them is timed.

    The first runs in this thread: a daemon ends with the thread that started it, so whoever restarts one comes first.
    """
    with ThreadPoolExecutor(len(parts)) as pool:
        others = [pool.submit(list, part) for part in parts[1:]]
        yield from list(parts[0])
        for other in others:
            yield from other.result()


def _data(ground: Ground) -> Iterator[Goal]:
    yield Goal("single flipped bits reported with the file", "local", *flipped_bits(ground.golden.store, PRODUCT))
    spark = build_session(Spark(master="local[2]", driver_memory="1g"), app_name="chaos")
    try:
        yield Goal("bad files named among 5,000", "local", *bad_files(ground.folder / "parts", spark))
    finally:
        spark.stop()


def _appends(ground: Ground) -> Iterator[Goal]:
    yield from appends.on_local_disk(ground.local("appends"), APPENDS)
    yield from appends.on_hdfs(ground.hdfs("appends"), ground.cluster, APPENDS, DROPPED, restart_every_s=60)
    for place in ground.both("killed-appends"):
        yield from appends.killed(place)


def _points(ground: Ground) -> Iterator[Goal]:
    chains = (Chain(ground.hdfs("points"), "kill9"), Chain(ground.local("points"), "raise"))
    yield from at_once(*(chain.goals() for chain in chains))


def _rivals(ground: Ground) -> Iterator[Goal]:
    places = ground.both("rivals")
    yield from at_once(*(rivals.zombies(place) for place in places))
    yield from at_once(*(rivals.twins(place.beside("twins")) for place in places))
    for place in places:
        yield from rivals.append_races(place.beside("races"), rounds=50)
        yield from rivals.readers(place.beside("readers"), count=8, commits=500 if place.name == "local" else 100)


def _namenode(ground: Ground) -> Iterator[Goal]:
    # While the stages on HDFS wait, those on the local disk are ended.
    yield from at_once(_away(ground), terminate_everywhere(ground.local("terminated")))


def _away(ground: Ground) -> Iterator[Goal]:
    away = {"ingest.before_commit": 60.0, "train.before_publish": 60.0, "score.before_commit": 60.0}
    yield from daemons.namenode_away(ground.hdfs("away-60"), ground.golden, ground.cluster, away)
    away = {"ingest.before_reading": 5.0, "train.before_measure": 5.0, "score.before_tasks": 5.0}
    yield from daemons.namenode_away(ground.hdfs("away-5"), ground.golden, ground.cluster, away)


def _datanodes(ground: Ground) -> Iterator[Goal]:
    place = ground.hdfs("datanodes")
    yield from daemons.one_datanode_gone(place, ground.golden, ground.cluster)
    yield from daemons.all_datanodes_gone(place, ground.cluster)


def _storage(ground: Ground) -> Iterator[Goal]:
    yield from daemons.replies_dropped(ground.hdfs("dropped"), ground.golden, ground.cluster, drop=0.01)


def _refused(ground: Ground) -> Iterator[Goal]:
    place = ground.hdfs("quota")
    yield from daemons.full_quota(place, ground.golden, ground.cluster)
    yield from daemons.no_permission(place, ground.cluster)


def _kills(ground: Ground) -> Iterator[Goal]:
    # Each of these starts a stage and sees it end: none minds the others.
    dice, golden, parts = random.Random(SEED), ground.golden, []
    for place in ground.both("kills"):
        place.write(ROWS)
        moments = [dice.uniform(4, 16) for _ in range(8)]
        parts.append(daemons.random_kills(place, golden, "ingest", moments))
    yield from at_once(*parts, _refused(ground))


def _executors(ground: Ground) -> Iterator[Goal]:
    with hadoop(ground.folder / "standalone", spark_workers=2) as cluster:
        place = Place(ground.folder / "hdfs" / "executors", f"{cluster.hdfs}/executors", cluster)
        yield from daemons.executors_killed(place, ground.golden, cluster)


PARTS: Final = {
    "data": _data,
    "appends": _appends,
    "points": _points,
    "rivals": _rivals,
    "namenode": _namenode,
    "datanodes": _datanodes,
    "storage": _storage,
    "kills": _kills,
    "executors": _executors,
}


def _whole(name: str, ground: Ground) -> Iterator[Goal]:
    """A part; one that breaks off has missed a goal, and the others follow."""
    try:
        yield from PARTS[name](ground)
    except Exception:
        yield Goal(f"part {name} to its end", "", 0, 1, traceback.format_exc())


def main() -> None:
    """Run the parts that are named, or all; exit 1 if a goal was missed."""
    configure_logging()
    start_quickly()
    if unknown := set(sys.argv[1:]) - PARTS.keys():
        sys.exit(f"there is no part {', '.join(sorted(unknown))}: {', '.join(PARTS)}")
    started = time.monotonic()
    goals: list[Goal] = []
    with tempfile.TemporaryDirectory(prefix="millrace-chaos-", ignore_cleanup_errors=True) as folder:
        with hadoop(Path(folder, "cluster")) as cluster, contextlib.suppress(KeyboardInterrupt):
            ground = Ground(Path(folder), cluster)
            for name in sys.argv[1:] or PARTS:
                say(f"part: {name}")
                for goal in _whole(name, ground):
                    say(f"{'held' if goal.held else 'MISSED'}: {goal.fault}: {goal.got} / {goal.goal} {goal.why}")
                    goals.append(goal)
    show(goals, time.monotonic() - started)
    sys.exit(any(not goal.held for goal in goals))


if __name__ == "__main__":
    main()
