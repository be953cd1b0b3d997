"""The ledger: which files a table has already, read from its own log alone."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import CommitProperties, write_deltalake

from ingest.sources.snapshot import SourceFile
from ingest.table import ledger
from ingest.table.ledger import Ledger, next_entry, own_commit, read_ledger
from millrace.errors import StorageError
from millrace.storage import Store
from millrace.tables.versions import TableVersion, find_table

ROWS = pa.table({"id": [1]})


def commit(store: Store, **record: Any) -> TableVersion:
    metadata = {"userMetadata": json.dumps(record)} if record else {}
    properties = CommitProperties(custom_metadata=metadata)
    write_deltalake(store.uri("tables", "p", "clean"), ROWS, mode="append", commit_properties=properties)
    return find_table(store, "p", "clean")


def grow(store: Store, number: int, found: Ledger | None, recipe: str = "r") -> TableVersion:
    file = SourceFile("s", f"/in/{number}", f"digest{number}", (number, 7, 0))
    entry = json.loads(json.dumps(next_entry(recipe, found, [file])))
    return commit(store, commit_key=f"k{number}", increment=entry)


def test_every_file_of_every_commit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "SUMMARY_EVERY", 3)
    found = None
    for number in range(1, 8):
        table = grow(store, number, found)
        found = read_ledger(table)
        assert found is not None
        assert (found.number, found.version, found.recipe) == (number, number - 1, "r")
        assert found.taken == {f"digest{n}": (f"/in/{n}", n, 7) for n in range(1, number + 1)}
    assert found is not None
    assert ("/in/3", 3, 7) in found.stamps()
    # The sixth repeats all before: older commits may be gone.
    log = Path(table.uri, "_delta_log")
    (log / f"{2:020}.json").rename(log / "away")
    assert read_ledger(table) == found
    (log / f"{5:020}.json").rename(log / "gone")
    with pytest.raises(StorageError, match="its log lacks version 5") as caught:
        read_ledger(table)
    assert "--full" in caught.value.hint


def test_a_table_that_others_wrote_to(store: Store) -> None:
    """Delta's own tidying leaves the rows as they are; everything else does not."""
    table = grow(store, 1, None)
    from deltalake import DeltaTable

    DeltaTable(table.uri).optimize.compact()
    table = commit(store)
    assert own_commit(table) is None
    assert read_ledger(table) is None


def test_tidying_is_overlooked(store: Store) -> None:
    grow(store, 1, None)
    table = grow(store, 2, read_ledger(find_table(store, "p", "clean")))
    from deltalake import DeltaTable

    DeltaTable(table.uri).optimize.compact()
    tidied = find_table(store, "p", "clean")
    assert tidied.version == 2
    assert read_ledger(tidied) == read_ledger(table)


def test_a_table_that_is_made_whole_each_time(store: Store) -> None:
    assert read_ledger(commit(store, commit_key="k")) is None
