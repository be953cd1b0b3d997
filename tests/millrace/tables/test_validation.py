"""Only versions that ingest checked are taken by stages that come later."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import CommitProperties, write_deltalake

from millrace.storage import Store
from millrace.tables.validation import NotValidated, check_validated
from millrace.tables.versions import CLEAN, find_table, table_parts


def write(store: Store, **commit: str) -> None:
    path = Path(store.uri(*table_parts("p", CLEAN)))
    properties = CommitProperties(custom_metadata={"userMetadata": json.dumps(commit)}) if commit else None
    write_deltalake(path, pa.table({"id": [1]}), mode="append", commit_properties=properties)


def test_a_version_that_ingest_did_not_make(store: Store) -> None:
    write(store)
    with pytest.raises(NotValidated, match="table p/clean version 0 is not validated: its commit names no contract"):
        check_validated(find_table(store, "p", CLEAN))


def test_the_contract_that_it_passed(store: Store) -> None:
    write(store, contract_sha256="c3")
    found = find_table(store, "p", CLEAN)
    check_validated(found)
    check_validated(found, "c3")
    with pytest.raises(NotValidated, match="it passed another contract") as caught:
        check_validated(found, "c4")
    assert "millrace ingest FILE" in caught.value.hint
