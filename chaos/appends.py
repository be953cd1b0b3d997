"""Fault tests of the record log: each number has one winner, and no acknowledged record is lost."""

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
from chaos.workspace import Workspace, report
from millrace.failpoints import ENVIRONMENT, LOG, fired
from millrace.storage import Store, Won, cas_append, read_record, record_numbers
from pipelines.hadoop.cluster import Cluster
from tests.e2e.commands import ROOT
from tests.millrace.storage.proxy import DroppingProxy

WRITERS = 8
FOLDER = ("race",)
APPEND = "import sys; from millrace.storage import *; print(cas_append(Store(sys.argv[1]), ('log',), 0, b'killed'))"


def append_all(root: str, writer: int, appends: int, barrier: Barrier, history: Path) -> None:
    """Append until this writer has won its share, and write each outcome to the history file."""
    store, number, won = Store(root), 0, 0
    with history.open("w") as file:
        barrier.wait(120)
        while won < appends:
            outcome = cas_append(store, FOLDER, number, f"{writer} {won}".encode())
            file.write(json.dumps([number, isinstance(outcome, Won), f"{writer} {won}"]) + "\n")
            won += isinstance(outcome, Won)
            number += 1


def race(root: str, folder: Path, appends: int) -> list["multiprocessing.process.BaseProcess"]:
    """Start all writers at the same moment; each writes its outcomes to ``<number>.jsonl`` in the folder."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(WRITERS + 1)
    writers = [
        context.Process(target=append_all, args=(root, number, appends, barrier, folder / f"{number}.jsonl"))
        for number in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    barrier.wait(120)
    return list(writers)


def judge(store: Store, folder: Path, appends: int, where: str) -> Iterator[Goal]:
    """Compare the outcomes that the writers got with the records in the log."""
    files = [folder / f"{number}.jsonl" for number in range(WRITERS)]
    outcomes = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    won = [(number, text) for number, is_won, text in outcomes if is_won]
    stored = {number: read_record(store, FOLDER, number).decode() for number in record_numbers(store, FOLDER)}
    winners = sum(stored.get(number) == text for number, text in dict(won).items())
    name = f"{WRITERS} x {appends} concurrent appends"
    yield Goal(f"{name}: numbers with one winner", where, winners, WRITERS * appends)
    yield Goal(f"{name}: acknowledged records lost", where, sum(stored.get(n) != t for n, t in won), 0)
    yield Goal(f"{name}: records that no writer won", where, len(stored.keys() - dict(won).keys()), 0)


def on_local_disk(workspace: Workspace, appends: int) -> Iterator[Goal]:
    """Concurrent writers on the local disk, without other faults."""
    report(f"{workspace.name}: {WRITERS} x {appends} appends")
    workspace.folder.mkdir(parents=True)
    for writer in race(workspace.root, workspace.folder, appends):
        writer.join(60 + appends)
    yield from judge(workspace.store, workspace.folder, appends, workspace.name)


def on_hdfs(
    workspace: Workspace, cluster: Cluster, appends: int, drop: float, restart_every_s: float
) -> Iterator[Goal]:
    """Concurrent writers on HDFS while replies are dropped and the NameNode is killed and restarted repeatedly."""
    report(f"{workspace.name}: {WRITERS} x {appends} appends, replies dropped, NameNode restarts")
    workspace.folder.mkdir(parents=True)
    done, restarts = threading.Event(), 0
    with DroppingProxy(cluster.hdfs.removeprefix("hdfs://"), drop=drop, seed=4) as proxy:
        path = workspace.root.removeprefix(cluster.hdfs)
        writers = race(f"hdfs://{proxy.address}{path}", workspace.folder, appends)
        end = time.monotonic() + 120 + appends * 3
        while not record_numbers(workspace.store, FOLDER) and time.monotonic() < end:
            done.wait(0.01)
        # The first restart waits for the first record. In a fixed time a fast machine could finish all appends.
        while any(writer.is_alive() for writer in writers) and time.monotonic() < end:
            cluster.kill("namenode")
            cluster.restart("namenode", tied=True)
            restarts += 1
            done.wait(restart_every_s)
        for writer in writers:
            writer.kill()
    yield from judge(workspace.store, workspace.folder, appends, workspace.name)
    name = f"faults that happened: replies dropped ({proxy.dropped}), NameNode restarts ({restarts})"
    yield Goal(name, workspace.name, int(proxy.dropped > 0) + int(restarts > 0), 2)


def killed(workspace: Workspace) -> Iterator[Goal]:
    """A writer is killed before and after its rename: the record is complete or does not exist."""
    tally = Tally("kill9 during an append", workspace.name)
    workspace.folder.mkdir(parents=True, exist_ok=True)
    for number, (point, records) in enumerate((("append.before_rename", 0), ("append.after_rename", 1))):
        store = Store(f"{workspace.root}/{number}")
        log = workspace.folder / f"append-{number}.log"
        env = {**os.environ, ENVIRONMENT: f"{point}=kill9", LOG: str(log)}
        code = subprocess.run([sys.executable, "-c", APPEND, store.root], cwd=ROOT, env=env, check=False).returncode
        is_complete = record_numbers(store, ("log",)) == list(range(records))
        outcome = cas_append(store, ("log",), 0, b"next")
        is_consistent = isinstance(outcome, Won) != bool(records)
        tally.note(
            "" if code == -9 and [name for name, _ in fired(log)] == [point] else f"{point} ended with {code}",
            "" if is_complete and is_consistent else f"{point}: a partial record",
        )
    yield from tally.goals()
