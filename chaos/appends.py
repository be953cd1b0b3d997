"""The log of records under fire: one winner a number, no acknowledgement lost."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

from chaos.goals import Goal, Tally
from chaos.place import Place, say
from millrace.failpoints import ENVIRONMENT, LOG, fired
from millrace.storage import Store, Won, cas_append, read_record, record_numbers
from pipelines.hadoop.cluster import Cluster
from tests.e2e.commands import ROOT
from tests.millrace.storage.proxy import DroppingProxy

WRITERS = 8
FOLDER = ("race",)
APPEND = "import sys; from millrace.storage import *; print(cas_append(Store(sys.argv[1]), ('log',), 0, b'killed'))"


def append_all(root: str, me: int, appends: int, barrier: Barrier, history: Path) -> None:
    """Append until this writer has won its share, and write down what it was told."""
    store, number, won = Store(root), 0, 0
    with history.open("w") as file:
        barrier.wait(120)
        while won < appends:
            outcome = cas_append(store, FOLDER, number, f"{me} {won}".encode())
            file.write(json.dumps([number, isinstance(outcome, Won), f"{me} {won}"]) + "\n")
            won += isinstance(outcome, Won)
            number += 1


def race(root: str, folder: Path, appends: int) -> list["multiprocessing.process.BaseProcess"]:
    """Start all writers; each leaves ``<number>.jsonl`` in the folder."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(WRITERS + 1)
    writers = [
        context.Process(target=append_all, args=(root, me, appends, barrier, folder / f"{me}.jsonl"))
        for me in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    barrier.wait(120)
    return list(writers)


def judge(store: Store, folder: Path, appends: int, place: str) -> Iterator[Goal]:
    """Compare what the writers were told with what the log holds."""
    said = [json.loads(line) for me in range(WRITERS) for line in (folder / f"{me}.jsonl").read_text().splitlines()]
    won = [(number, text) for number, is_won, text in said if is_won]
    held = {number: read_record(store, FOLDER, number).decode() for number in record_numbers(store, FOLDER)}
    winners = sum(held.get(number) == text for number, text in dict(won).items())
    what = f"{WRITERS} x {appends} appends at once"
    yield Goal(f"{what}: one winner a number", place, winners, WRITERS * appends)
    yield Goal(f"{what}: acknowledgements lost", place, sum(held.get(n) != t for n, t in won), 0)
    yield Goal(f"{what}: losers who won", place, len(held.keys() - dict(won).keys()), 0)


def on_local_disk(place: Place, appends: int) -> Iterator[Goal]:
    """Without faults other than the others."""
    say(f"{place.name}: {WRITERS} x {appends} appends")
    place.folder.mkdir(parents=True)
    for writer in race(place.root, place.folder, appends):
        writer.join(60 + appends)
    yield from judge(place.store, place.folder, appends, place.name)


def on_hdfs(place: Place, cluster: Cluster, appends: int, drop: float, restart_every_s: float) -> Iterator[Goal]:
    """Replies are dropped on the way, and the NameNode is killed and started again and again."""
    say(f"{place.name}: {WRITERS} x {appends} appends, replies dropped, NameNode restarts")
    place.folder.mkdir(parents=True)
    done, restarts = threading.Event(), 0
    with DroppingProxy(cluster.hdfs.removeprefix("hdfs://"), drop=drop, seed=4) as proxy:
        path = place.root.removeprefix(cluster.hdfs)
        writers = race(f"hdfs://{proxy.address}{path}", place.folder, appends)
        end = time.monotonic() + 120 + appends * 3
        while not record_numbers(place.store, FOLDER) and time.monotonic() < end:
            done.wait(0.01)
        # The first restart is tied to the first record, not to a clock: a fast machine appends all within the wait.
        while any(writer.is_alive() for writer in writers) and time.monotonic() < end:
            cluster.kill("namenode")
            cluster.restart("namenode", tied=True)
            restarts += 1
            done.wait(restart_every_s)
        for writer in writers:
            writer.kill()
    yield from judge(place.store, place.folder, appends, place.name)
    what = f"replies dropped ({proxy.dropped}) and NameNode restarts ({restarts})"
    yield Goal(what, place.name, int(proxy.dropped > 0) + int(restarts > 0), 2)


def killed(place: Place) -> Iterator[Goal]:
    """A writer dies before and after the rename: the record is there whole or not at all."""
    tally = Tally("kill9 in an append", place.name)
    place.folder.mkdir(parents=True, exist_ok=True)
    for number, (point, left) in enumerate((("append.before_rename", 0), ("append.after_rename", 1))):
        store = Store(f"{place.root}/{number}")
        log = place.folder / f"append-{number}.log"
        env = {**os.environ, ENVIRONMENT: f"{point}=kill9", LOG: str(log)}
        code = subprocess.run([sys.executable, "-c", APPEND, store.root], cwd=ROOT, env=env, check=False).returncode
        there = record_numbers(store, ("log",)) == list(range(left))
        again = cas_append(store, ("log",), 0, b"next")
        right = isinstance(again, Won) != bool(left)
        tally.note(
            "" if code == -9 and [name for name, _ in fired(log)] == [point] else f"{point} ended with {code}",
            "" if there and right else f"{point}: half a record",
        )
    yield from tally.goals()
