"""Table versions: pinned and exact."""

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from millrace.errors import ArtifactNotFound, StorageError
from millrace.storage import Store
from millrace.tables.rows import RowRange, read_rows
from millrace.tables.versions import CLEAN, TableVersion, find_table, table_parts


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
    path = Path(store.uri(*table_parts("p", CLEAN)))
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


def test_a_version_carries_the_wait_of_its_store(table: TableVersion, store: Store) -> None:
    assert table.retry.wait_s == 0
    assert find_table(Store(store.root, wait_s=30), "p", CLEAN).retry.wait_s == 30


def test_a_pinned_version_never_changes(table: TableVersion, store: Store) -> None:
    pinned = find_table(store, "p", CLEAN, 0)
    assert (pinned.version, pinned.rows_of(), pinned.commit) == (0, 40, {"contract": "c1", "key": "k1"})
    path = Path(store.uri(*table_parts("p", CLEAN)))
    write_deltalake(path, rows_of(100, 8), mode="overwrite", partition_by=["split"])
    assert find_table(store, "p", CLEAN, 0) == pinned
    assert find_table(store, "p", CLEAN, 1) == table
    assert all_ids(pinned) == list(range(40))
    assert all_ids(find_table(store, "p", CLEAN)) == list(range(100, 108))
    assert find_table(store, "p", CLEAN).commit == {}


def test_versions_survive_a_checkpoint(table: TableVersion, store: Store) -> None:
    DeltaTable(store.uri(*table_parts("p", CLEAN))).create_checkpoint()
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
    log = Path(store.uri(*table_parts("p", CLEAN), "_delta_log", f"{1:020}.json"))
    log.write_text("not json")
    with pytest.raises(StorageError, match="table 'p/clean' cannot be read"):
        find_table(store, "p", CLEAN)


def test_an_empty_log(store: Store) -> None:
    Path(store.uri(*table_parts("p", CLEAN), "_delta_log")).mkdir(parents=True)
    with pytest.raises(ArtifactNotFound):
        find_table(store, "p", CLEAN)


def test_a_digest_names_the_rows(store: Store, table: TableVersion) -> None:
    assert table.digest == find_table(store, "p", CLEAN).digest
    assert table.digest != find_table(store, "p", CLEAN, 0).digest
