"""Fault tests of concurrent runs on one table: each key is committed once, and no run overwrites a newer commit."""

import json
import multiprocessing
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier, Event

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import write_deltalake

from chaos.goals import Goal, Tally
from chaos.workspace import OLD_ROWS, ROWS, RunningStage, Workspace, report, result_of, unexpected_exit
from millrace.errors import Unavailable
from millrace.storage import Store, delta_options, files_of, open_input
from millrace.tables.versions import CLEAN, PREDICTIONS, find_table
from serve.scoring.batches import ERROR, Written
from serve.scoring.predictions import CONSTANTS, Predictions

REFUSED = 5
WRITERS = 4
RACE = "race"
COLUMNS = pa.schema(
    [("id", pa.int64()), (ERROR, pa.string()), *((name, kind) for name, kind in CONSTANTS.items())],
)


def start_suspended(workspace: Workspace, stage: str, point: str, *settings: str) -> RunningStage:
    """Start a stage and wait until it suspends itself at a failpoint."""
    running = workspace.start(stage, *settings, fail=f"{point}=stop")
    if not running.wait_fired():
        running.wait(1)
    return running


def zombies(
    workspace: Workspace, points: tuple[str, ...] = ("ingest.before_rejects", "ingest.before_commit")
) -> Iterator[Goal]:
    """Resume a zombie, a run that was suspended before its commit while a successor committed: it must be refused."""
    tally = Tally("zombie resumed after its successor's commit: exit 5", workspace.name)
    for point in points:
        report(f"{workspace.name}: zombie at {point}")
        workspace.write(OLD_ROWS)
        zombie = start_suspended(workspace, "ingest", point, f"contract.min_rows={len(point)}")
        workspace.write(ROWS)
        successor = workspace.run("ingest", f"contract.min_rows={1 + len(point)}")
        rows, version = workspace.rows(), workspace.versions(CLEAN)
        zombie.send(signal.SIGCONT)
        done = zombie.wait()
        unchanged = workspace.rows() == rows and workspace.versions(CLEAN) == version
        tally.note(
            unexpected_exit(successor, 0),
            unexpected_exit(done, REFUSED),
            "" if unchanged else f"{point}: the zombie changed the table",
        )
    yield from tally.goals()


def duplicate_runs(workspace: Workspace) -> Iterator[Goal]:
    """Suspend two runs with the same key before their commit, then resume both: one commits."""
    tally = Tally("two concurrent runs with the same key: one commit", workspace.name)
    workspace.write(ROWS)
    for stage, point, table in (
        ("ingest", "ingest.before_commit", CLEAN),
        ("train", "train.before_publish", ""),
        ("score", "score.before_commit", PREDICTIONS),
    ):
        report(f"{workspace.name}: two runs suspended at {point}")
        runs = [start_suspended(workspace, stage, point) for _ in range(2)]
        for running in runs:
            running.send(signal.SIGCONT)
        done = [running.wait() for running in runs]
        outcomes = sorted(str(result_of(each).get("outcome")) for each in done)
        versions = workspace.versions(table) if table else len(workspace.store.names("models", "shapes"))
        rows = workspace.predictions() if stage == "score" else workspace.rows()
        wrong_rows = "" if rows is not None and rows[0] == ROWS else f"{stage}: {rows} rows"
        wrong_outcomes = (
            "" if outcomes in (["already_committed", "committed"], ["committed", "failed"]) else f"{outcomes}"
        )
        tally.note(*(unexpected_exit(each, 0, REFUSED) for each in done), wrong_rows, wrong_outcomes)
        if stage == "train" and versions != 1:
            tally.note(f"train: {versions} versions")
    yield from tally.goals()


def write_part(store: Store, day: str, writer: int, rows: int) -> Written:
    """Write a file of predictions without committing it."""
    path = f"{Predictions(store, RACE).partition(day)}/part-{writer}-{datetime.now(UTC).timestamp()}.parquet"
    table = pa.table({name: pa.nulls(rows, kind) for name, kind in zip(COLUMNS.names, COLUMNS.types, strict=True)})
    with files_of(path).open_output(path) as sink:
        pq.write_table(table, sink)
    return Written(path, files_of(path).size(path), rows, 0)


def append_rounds(root: str, writer: int, rounds: int, is_own_key: bool, barrier: Barrier, history: str) -> None:
    """Append once in each round, at the same moment as the other writers.

    Args:
        root: Root of the store.
        writer: Number of this writer.
        rounds: How many rounds.
        is_own_key: Whether each writer has its own key; otherwise all writers of a round have the same.
        barrier: Starts the round for all writers.
        history: File for the outcome of each round: ``mine``, ``theirs``, ``none`` (lost) or ``unknown``.
    """
    store = Store(root)
    outcomes = []
    for number in range(rounds):
        day = (datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=number)).date().isoformat()
        key = f"{number}-{writer}" if is_own_key else str(number)
        written = write_part(store, day, writer, 10)
        barrier.wait(120)
        record = {"commit_key": key, "logical_date": day, "writer": writer}
        try:
            Predictions(store, RACE).append([written], COLUMNS, record)
        except Unavailable:
            outcomes.append("unknown")
        found = Predictions(store, RACE).find_commit(key)
        outcomes.append("none" if found is None else "mine" if found[1]["writer"] == writer else "theirs")
    with open(history, "w") as file:
        json.dump(outcomes, file)


def append_races(workspace: Workspace, rounds: int) -> Iterator[Goal]:
    """Let four processes append to one table at the same moment, for several rounds."""
    for is_own_key, keys in ((False, "same key"), (True, "own keys")):
        report(f"{workspace.name}: {WRITERS} concurrent appends, {keys}, {rounds} rounds")
        other = workspace.sibling(f"{workspace.folder.name}-{'own' if is_own_key else 'same'}")
        other.folder.mkdir(parents=True)
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(WRITERS)
        histories = [str(other.folder / f"{number}.json") for number in range(WRITERS)]
        processes = [
            context.Process(target=append_rounds, args=(other.root, number, rounds, is_own_key, barrier, history))
            for number, history in enumerate(histories)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60 + rounds * 20)
            process.kill()
        rows = find_table(other.store, RACE, PREDICTIONS).rows_of()
        expected = rounds * 10 * (WRITERS if is_own_key else 1)
        name = f"{WRITERS} concurrent appends, {keys}"
        ended = sum(process.exitcode == 0 for process in processes)
        yield Goal(f"{name}: rows", workspace.name, rows, expected, f"{ended} writers succeeded")
        outcomes: list[str] = []
        for path in histories:
            with open(path) as file:
                outcomes += json.load(file)
        yield Goal(f"{name}: lost", workspace.name, outcomes.count("none"), 0)


def read_repeatedly(root: str, done: Event, results: str) -> None:
    """Read the newest version again and again, and note each read that is not exactly one written version."""
    store, reads, bad, newest = Store(root), 0, [], -1
    while not done.is_set():
        version = find_table(store, RACE, CLEAN)
        values = set()
        rows = 0
        for file in version.files:
            with open_input(file.path) as source:
                column = pq.read_table(source, columns=["n"])["n"]
            values |= set(column.to_pylist())
            rows += len(column)
        reads += 1
        if values != {version.version} or rows != 100 + version.version:
            bad.append(f"version {version.version}: {rows} rows of {sorted(values)}")
        if version.version < newest:
            bad.append(f"version {version.version} after {newest}")
        newest = version.version
    with open(results, "w") as file:
        json.dump([reads, bad], file)


def readers(workspace: Workspace, count: int, commits: int) -> Iterator[Goal]:
    """Read a table while a writer replaces it repeatedly: each read sees one complete version."""
    report(f"{workspace.name}: {count} readers during {commits} commits")
    uri = workspace.store.uri("tables", RACE, CLEAN)

    def write(number: int) -> None:
        rows = pa.table({"n": pa.array([number] * (100 + number), pa.int64())})
        write_deltalake(uri, rows, mode="overwrite", storage_options=delta_options(uri))

    write(0)
    workspace.folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    done = context.Event()
    results = [str(workspace.folder / f"reader-{number}.json") for number in range(count)]
    processes = [context.Process(target=read_repeatedly, args=(workspace.root, done, path)) for path in results]
    for process in processes:
        process.start()
    for number in range(1, commits + 1):
        write(number)
    done.set()
    reads, bad = 0, []
    for process, path in zip(processes, results, strict=True):
        process.join(60)
        process.kill()
        with open(path) as file:
            found = json.load(file)
        reads, bad = reads + found[0], bad + found[1]
    name = f"{count} readers during {commits} commits: complete reads"
    yield Goal(name, workspace.name, reads - len(bad), reads, "; ".join(bad[:3]))
