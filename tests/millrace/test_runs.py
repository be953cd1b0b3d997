"""A run's record accounts for every row, and lies where it can be found."""

import json
import re

import pytest
from pydantic import ValidationError

from millrace.runs import RunRecord, new_run_id, save_record
from millrace.storage import Store


def record(**values: int) -> RunRecord:
    return RunRecord.model_validate({"stage": "ingest", "run_id": "r", "outcome": "committed", **values})


@pytest.mark.parametrize(
    "counts",
    [
        {},
        {"rows_in": 10, "rows_out": 10},
        {"rows_in": 10, "rows_out": 7, "rejected": 2, "filtered": 1},
        {"rows_in": 3, "filtered": 3},
    ],
)
def test_accounts_that_add_up(counts: dict[str, int]) -> None:
    assert record(**counts).check_accounts() == record(**counts)


@pytest.mark.parametrize(
    "counts",
    [
        {"rows_in": 10, "rows_out": 9},
        {"rows_in": 10, "rows_out": 11},
        {"rows_in": 10, "rows_out": 8, "rejected": 2, "filtered": 1},
        {"rejected": 1},
    ],
)
def test_a_lost_or_doubled_row_is_a_bug(counts: dict[str, int]) -> None:
    with pytest.raises(AssertionError, match=r"ingest: \d+ rows in, but \d+ out \+ \d+ rejected \+ \d+ filtered"):
        record(**counts).check_accounts()


def test_a_record_takes_no_unknown_outcome_or_field() -> None:
    with pytest.raises(ValidationError, match="outcome"):
        RunRecord.model_validate({"stage": "ingest", "run_id": "r", "outcome": "perhaps"})
    with pytest.raises(ValidationError, match="rows"):
        record(rows=1)


def test_a_record_is_kept_and_replaced(store: Store) -> None:
    for rows in (1, 2):
        saved = RunRecord(stage="train", run_id="r1", product="p", outcome="committed", rows_in=rows, rows_out=rows)
        save_record(store, saved)
    assert store.names("runs", "p", "r1") == ["train.json"]
    assert json.loads(store.read("runs", "p", "r1", "train.json"))["rows_in"] == 2
    assert RunRecord.model_validate_json(store.read("runs", "p", "r1", "train.json")) == saved


def test_run_ids_differ_and_sort_by_time() -> None:
    ids = [new_run_id() for _ in range(100)]
    assert len(set(ids)) == 100
    assert all(re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{6}", run_id) for run_id in ids)
