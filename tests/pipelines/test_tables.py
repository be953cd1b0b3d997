"""Table versions: pinned, exact, read in ranges, and never a damaged byte taken for data."""

import json
import random
import shutil
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import ArtifactNotFound, DataRejected, StorageError
from pipelines.storage import Store
from pipelines.tables import (
    CLEAN,
    DataFile,
    RowRange,
    TableVersion,
    cut_rows,
    find_table,
    read_rows,
    table_parts,
)

GROUP = 7
"""Rows of a row group in the files here."""


def rows_of(first: int, count: int) -> pa.Table:
    numbers = range(first, first + count)
    return pa.table(
        {
            "id": pa.array(numbers, pa.int64()),
            "city": [None if n % 5 == 0 else f"city {n % 3}" for n in numbers],
            "split": [("train", "test")[n % 4 == 0] for n in numbers],
        }
    )


def write(store: Store, rows: pa.Table, **commit: object) -> None:
    path = store.path(*table_parts("p", CLEAN))
    properties = CommitProperties(custom_metadata={"userMetadata": json.dumps(commit)}) if commit else None
    write_deltalake(path, rows, mode="append", partition_by=["split"], commit_properties=properties)


@pytest.fixture
def table(store: Store) -> TableVersion:
    """Version 1 of a table of two commits."""
    write(store, rows_of(0, 40), contract="c1", key="k1")
    write(store, rows_of(40, 20), contract="c2")
    return find_table(store, "p", CLEAN)


def all_ids(table: TableVersion, split: str | None = None) -> list[int]:
    ranges = [RowRange(file.path, 0, file.rows) for file in table.files_of(split)]
    return sorted(n for part in ranges for batch in read_rows(part, ["id"]) for n in batch["id"].to_pylist())


def test_the_newest_version(table: TableVersion) -> None:
    assert (table.name, table.version, table.commit) == ("p/clean", 1, {"contract": "c2"})
    assert table.columns == {"id": "long", "city": "string", "split": "string"}
    assert (table.rows_of(), table.rows_of("train"), table.rows_of("test"), table.rows_of("none")) == (60, 45, 15, 0)
    assert all_ids(table) == list(range(60))
    assert all_ids(table, "test") == list(range(0, 60, 4))


def test_a_pinned_version_never_changes(table: TableVersion, store: Store) -> None:
    pinned = find_table(store, "p", CLEAN, 0)
    assert (pinned.version, pinned.rows_of(), pinned.commit) == (0, 40, {"contract": "c1", "key": "k1"})
    path = store.path(*table_parts("p", CLEAN))
    write_deltalake(path, rows_of(100, 8), mode="overwrite", partition_by=["split"])
    assert find_table(store, "p", CLEAN, 0) == pinned
    assert find_table(store, "p", CLEAN, 1) == table
    assert all_ids(pinned) == list(range(40))
    assert all_ids(find_table(store, "p", CLEAN)) == list(range(100, 108))
    assert find_table(store, "p", CLEAN).commit == {}


def test_versions_survive_a_checkpoint(table: TableVersion, store: Store) -> None:
    DeltaTable(str(store.path(*table_parts("p", CLEAN)))).create_checkpoint()
    assert find_table(store, "p", CLEAN) == table
    assert find_table(store, "p", CLEAN, 0).rows_of() == 40


def test_when_it_was_committed(table: TableVersion, store: Store) -> None:
    pinned = find_table(store, "p", CLEAN, 0)
    assert pinned.committed < table.committed
    assert abs((datetime.now(UTC) - table.committed).total_seconds()) < 300


def test_a_row_in_the_order_of_its_files(table: TableVersion) -> None:
    """The same version gives the same order, so that a position means the same row for ever."""
    assert [f.path for f in table.files] == sorted(f.path for f in table.files)
    assert all(Path(f.path).is_file() for f in table.files)


def test_odd_partition_values(store: Store) -> None:
    rows = pa.table({"id": [1, 2, 3], "split": ["a b", "ü/x", "50%"]})
    write(store, rows)
    found = find_table(store, "p", CLEAN)
    assert Counter(f.partition["split"] for f in found.files) == {"a b": 1, "ü/x": 1, "50%": 1}
    assert all_ids(found) == [1, 2, 3]


@pytest.mark.parametrize("version", [2, -1, 99])
def test_a_version_that_is_not_there(version: int, table: TableVersion, store: Store) -> None:
    with pytest.raises(ArtifactNotFound, match=rf"no version {version} of table 'p/clean'") as caught:
        find_table(store, "p", CLEAN, version)
    assert caught.value.hint == f"the newest version is {table.version}"


@pytest.mark.parametrize("product", ["nobody", "../p", "", "/", "."])
def test_a_table_that_is_not_there(product: str, table: TableVersion, store: Store) -> None:
    with pytest.raises(ArtifactNotFound, match="there is no table"):
        find_table(store, product, CLEAN)


def test_a_damaged_log(table: TableVersion, store: Store) -> None:
    log = store.path(*table_parts("p", CLEAN), "_delta_log", f"{1:020}.json")
    log.write_text("not json")
    with pytest.raises(StorageError, match="table 'p/clean' cannot be read"):
        find_table(store, "p", CLEAN)


def test_an_empty_log(store: Store) -> None:
    store.path(*table_parts("p", CLEAN), "_delta_log").mkdir(parents=True)
    with pytest.raises(ArtifactNotFound):
        find_table(store, "p", CLEAN)


FILES = (DataFile("a", 3, {}), DataFile("b", 0, {}), DataFile("c", 4, {}))


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (0, 7, [("a", 0, 3), ("c", 0, 4)]),
        (2, 4, [("a", 2, 3), ("c", 0, 1)]),
        (3, 5, [("c", 0, 2)]),
        (3, 3, []),
        (7, 9, []),
        (6, 9, [("c", 3, 4)]),
    ],
)
def test_cutting(start: int, stop: int, expected: list[tuple[str, int, int]]) -> None:
    assert [(r.path, r.start, r.stop) for r in cut_rows(FILES, start, stop)] == expected


@given(rows=st.lists(st.integers(0, 9), max_size=6), cuts=st.lists(st.integers(0, 60), max_size=5))
def test_cuts_hold_every_row_once(rows: list[int], cuts: list[int]) -> None:
    files = tuple(DataFile(str(n), count, {}) for n, count in enumerate(rows))
    bounds = [0, *sorted(min(cut, sum(rows)) for cut in cuts), sum(rows)]
    seen = Counter(
        (r.path, row)
        for low, high in pairwise(bounds)
        for r in cut_rows(files, low, high)
        for row in range(r.start, r.stop)
    )
    assert seen == Counter((str(n), row) for n, count in enumerate(rows) for row in range(count))


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of several row groups with page checksums, as Spark writes them for us."""
    path = tmp_path_factory.mktemp("parquet") / "part-0.parquet"
    pq.write_table(rows_of(0, 45), path, row_group_size=GROUP, write_page_checksum=True)
    return path


@settings(deadline=None, max_examples=60)
@given(
    bounds=st.tuples(st.integers(0, 45), st.integers(0, 45)).map(sorted),
    batch_rows=st.integers(1, 50),
    columns=st.permutations(["id", "city"]),
)
def test_any_range_equals_the_slice(parquet: Path, bounds: list[int], batch_rows: int, columns: list[str]) -> None:
    start, stop = bounds
    batches = list(read_rows(RowRange(str(parquet), start, stop), columns, batch_rows))
    assert all(0 < batch.num_rows <= batch_rows for batch in batches)
    expected = rows_of(0, 45).select(["id", "city"]).slice(start, stop - start)
    if start < stop:
        assert pa.Table.from_batches(batches).select(["id", "city"]).equals(expected)
    else:
        assert batches == []


def test_a_uri_is_as_good_as_a_path(parquet: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a b.parquet"
    shutil.copy(parquet, odd)
    (batch,) = read_rows(RowRange(odd.as_uri(), 1, 3), ["id"])
    assert batch["id"].to_pylist() == [1, 2]
    assert RowRange(odd.as_uri(), 1, 3).rows == 2


def flipped(parquet: Path, target: Path, position: int) -> Path:
    data = bytearray(parquet.read_bytes())
    data[position] ^= 0xFF
    target.write_bytes(data)
    return target


def test_a_flipped_byte_in_a_data_page(parquet: Path, tmp_path: Path) -> None:
    column = pq.ParquetFile(parquet).metadata.row_group(2).column(0)
    inside = column.dictionary_page_offset + column.total_compressed_size - 3
    damaged = flipped(parquet, tmp_path / "part-damaged.parquet", inside)
    with pytest.raises(DataRejected, match=r"part-damaged\.parquet: damaged or unreadable") as caught:
        list(read_rows(RowRange(str(damaged), 0, 45), ["id"]))
    assert "restore the file" in caught.value.hint
    untouched = list(read_rows(RowRange(str(damaged), 0, 2 * GROUP), ["id"]))
    assert sum(batch.num_rows for batch in untouched) == 2 * GROUP


def test_no_flipped_byte_gives_a_wrong_answer(parquet: Path, tmp_path: Path) -> None:
    """Wherever it is, footer included: the rows are right, or they are refused."""
    chosen = random.Random(7).sample(range(parquet.stat().st_size), 300)
    columns = ["id", "city"]
    expected = rows_of(0, 45).select(columns)
    refused = 0
    for position in chosen:
        damaged = flipped(parquet, tmp_path / "damaged.parquet", position)
        try:
            batches = list(read_rows(RowRange(str(damaged), 0, 45), columns))
        except DataRejected:
            refused += 1
        else:
            assert pa.Table.from_batches(batches).equals(expected), f"byte {position}"
    assert refused > 150


@pytest.mark.parametrize(
    ("data", "reason"), [(b"", "0 bytes"), (b"PAR1", "4 bytes"), (b"no parquet at all", "magic bytes")]
)
def test_no_parquet_file(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    path.write_bytes(data)
    with pytest.raises(DataRejected, match=reason):
        list(read_rows(RowRange(str(path), 0, 1), ["id"]))


def test_fewer_rows_than_the_log_says(parquet: Path) -> None:
    with pytest.raises(DataRejected, match="5 rows fewer than the table's log says"):
        list(read_rows(RowRange(str(parquet), 40, 50), ["id"]))


def test_a_column_that_the_file_lacks(parquet: Path) -> None:
    with pytest.raises(DataRejected, match="there is no column 'age'"):
        list(read_rows(RowRange(str(parquet), 0, 1), ["id", "age"]))


def test_a_file_that_is_gone(table: TableVersion) -> None:
    Path(table.files[0].path).unlink()
    with pytest.raises(StorageError, match="the table's log names this file, but it is gone"):
        list(read_rows(RowRange(table.files[0].path, 0, 1), ["id"]))
