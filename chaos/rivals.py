"""Several runs at once on one table: one commit for each key, and none over a newer one."""

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
from chaos.place import OLD_ROWS, ROWS, Place, Running, complaint_of, result_of, say
from millrace.errors import Unavailable
from millrace.storage import Store, delta_options, files_of, open_input
from millrace.tables.versions import CLEAN, PREDICTIONS, find_table
from serve.scoring.batches import ERROR, Written
from serve.scoring.predictions import CONSTANTS, Predictions

REFUSED = 5
RIVALS = 4
RACE = "race"
COLUMNS = pa.schema(
    [("id", pa.int64()), (ERROR, pa.string()), *((name, kind) for name, kind in CONSTANTS.items())],
)


def stopped(place: Place, stage: str, point: str, *settings: str) -> Running:
    """A stage that stands still at a point."""
    running = place.start(stage, *settings, fail=f"{point}=stop")
    if not running.wait_fired():
        running.wait(1)
    return running


def zombies(
    place: Place, points: tuple[str, ...] = ("ingest.before_rejects", "ingest.before_commit")
) -> Iterator[Goal]:
    """A run stands still before its commit, another commits in its place, the first wakes up."""
    tally = Tally("zombie wakes after its successor's commit: exit 5", place.name)
    for point in points:
        say(f"{place.name}: zombie at {point}")
        place.write(OLD_ROWS)
        zombie = stopped(place, "ingest", point, f"contract.min_rows={len(point)}")
        place.write(ROWS)
        successor = place.run("ingest", f"contract.min_rows={1 + len(point)}")
        rows, version = place.rows(), place.versions(CLEAN)
        zombie.send(signal.SIGCONT)
        done = zombie.wait()
        intact = place.rows() == rows and place.versions(CLEAN) == version
        tally.note(complaint_of(successor, 0), complaint_of(done, REFUSED), "" if intact else f"{point}: resurrected")
    yield from tally.goals()


def twins(place: Place) -> Iterator[Goal]:
    """Two runs with the same key stand before the commit and go on together."""
    tally = Tally("same key twice at once: one commit", place.name)
    place.write(ROWS)
    for stage, point, table in (
        ("ingest", "ingest.before_commit", CLEAN),
        ("train", "train.before_publish", ""),
        ("score", "score.before_commit", PREDICTIONS),
    ):
        say(f"{place.name}: twins at {point}")
        runs = [stopped(place, stage, point) for _ in range(2)]
        for running in runs:
            running.send(signal.SIGCONT)
        ends = [running.wait() for running in runs]
        outcomes = sorted(str(result_of(done).get("outcome")) for done in ends)
        versions = place.versions(table) if table else len(place.store.names("models", "shapes"))
        rows = place.predictions() if stage == "score" else place.rows()
        doubled = "" if rows is not None and rows[0] == ROWS else f"{stage}: {rows} rows"
        once = "" if outcomes in (["already_committed", "committed"], ["committed", "failed"]) else f"{outcomes}"
        tally.note(*(complaint_of(done, 0, REFUSED) for done in ends), doubled, once)
        if stage == "train" and versions != 1:
            tally.note(f"train: {versions} versions")
    yield from tally.goals()


def write_part(store: Store, day: str, me: int, rows: int) -> Written:
    """A file of predictions that no log names yet."""
    path = f"{Predictions(store, RACE).partition(day)}/part-{me}-{datetime.now(UTC).timestamp()}.parquet"
    made = pa.table({name: pa.nulls(rows, kind) for name, kind in zip(COLUMNS.names, COLUMNS.types, strict=True)})
    with files_of(path).open_output(path) as sink:
        pq.write_table(made, sink)
    return Written(path, files_of(path).size(path), rows, 0)


def append_rounds(root: str, me: int, rounds: int, is_own_key: bool, barrier: Barrier, history: str) -> None:
    """In each round, all at once: append under the round's key, or under a key of one's own."""
    store = Store(root)
    said = []
    for number in range(rounds):
        day = (datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=number)).date().isoformat()
        key = f"{number}-{me}" if is_own_key else str(number)
        written = write_part(store, day, me, 10)
        barrier.wait(120)
        record = {"commit_key": key, "logical_date": day, "writer": me}
        try:
            Predictions(store, RACE).append([written], COLUMNS, record)
        except Unavailable:
            said.append("unknown")
        found = Predictions(store, RACE).find_commit(key)
        said.append("none" if found is None else "mine" if found[1]["writer"] == me else "theirs")
    with open(history, "w") as file:
        json.dump(said, file)


def append_races(place: Place, rounds: int) -> Iterator[Goal]:
    """Four processes append to one table at the same moment, round after round."""
    for is_own_key, what in ((False, "same key"), (True, "keys of their own")):
        say(f"{place.name}: {RIVALS} appends at once, {what}, {rounds} rounds")
        other = place.beside(f"{place.folder.name}-{'own' if is_own_key else 'same'}")
        other.folder.mkdir(parents=True)
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(RIVALS)
        histories = [str(other.folder / f"{me}.json") for me in range(RIVALS)]
        processes = [
            context.Process(target=append_rounds, args=(other.root, me, rounds, is_own_key, barrier, histories[me]))
            for me in range(RIVALS)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60 + rounds * 20)
            process.kill()
        rows = find_table(other.store, RACE, PREDICTIONS).rows_of()
        wanted = rounds * 10 * (RIVALS if is_own_key else 1)
        ended = sum(process.exitcode == 0 for process in processes)
        yield Goal(f"{RIVALS} appends at once, {what}: rows", place.name, rows, wanted, f"{ended} writers ended well")
        said = []
        for path in histories:
            with open(path) as file:
                said += [word for word in json.load(file) if word != "unknown"]
        lost = sum(word == "none" for word in said)
        yield Goal(f"{RIVALS} appends at once, {what}: lost", place.name, lost, 0)


def read_on(root: str, until: Event, results: str) -> None:
    """Read the newest version over and over; each must be one that was written, whole."""
    store, reads, torn, seen = Store(root), 0, [], -1
    while not until.is_set():
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
            torn.append(f"version {version.version}: {rows} rows of {sorted(values)}")
        if version.version < seen:
            torn.append(f"version {version.version} after {seen}")
        seen = version.version
    with open(results, "w") as file:
        json.dump([reads, torn], file)


def readers(place: Place, count: int, commits: int) -> Iterator[Goal]:
    """Readers beside a writer that replaces the table again and again."""
    say(f"{place.name}: {count} readers beside {commits} commits")
    uri = place.store.uri("tables", RACE, CLEAN)

    def write(number: int) -> None:
        rows = pa.table({"n": pa.array([number] * (100 + number), pa.int64())})
        write_deltalake(uri, rows, mode="overwrite", storage_options=delta_options(uri))

    write(0)
    place.folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    until = context.Event()
    results = [str(place.folder / f"reader-{number}.json") for number in range(count)]
    processes = [context.Process(target=read_on, args=(place.root, until, path)) for path in results]
    for process in processes:
        process.start()
    for number in range(1, commits + 1):
        write(number)
    until.set()
    reads, torn = 0, []
    for process, path in zip(processes, results, strict=True):
        process.join(60)
        process.kill()
        with open(path) as file:
            found = json.load(file)
        reads, torn = reads + found[0], torn + found[1]
    what = f"{count} readers beside {commits} commits: whole reads"
    yield Goal(what, place.name, reads - len(torn), reads, "; ".join(torn[:3]))
