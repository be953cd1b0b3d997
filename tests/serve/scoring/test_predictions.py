"""The predictions table: its columns and its commits, without Spark."""

import errno
import multiprocessing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from millrace.errors import ConfigError, DataRejected, FeatureMismatch, StorageError
from millrace.storage import Store
from millrace.tables.versions import PREDICTIONS, DataFile, TableVersion, table_parts
from serve.errors import TableDiffers
from serve.scoring import predictions
from serve.scoring.batches import Written
from serve.scoring.predictions import DATE, KEPT_LOG, Predictions, check_features, parse_date, plan_schema
from tests.serve.models import manifest_of, spec_of

SCHEMA = pa.schema([("id", pa.int64()), ("probability", pa.float32()), ("error", pa.string())])
COLUMNS = {
    "id": "long",
    "amount": "float",
    "weight": "double",
    "count": "integer",
    "code": "long",
    "flag": "boolean",
    "maybe": "boolean",
    "seen": "timestamp",
    "city": "string",
    "note": "string",
    "split": "string",
}


@pytest.fixture
def table(tmp_path: Path) -> TableVersion:
    """A clean table's version whose one file has its key."""
    path = tmp_path / "clean.parquet"
    pq.write_table(pa.table({"id": [1, 2]}), path)
    file = DataFile(str(path), 2, {"split": "train"})
    return TableVersion("tiny/clean", str(tmp_path), 7, COLUMNS, (file,), {}, datetime.now(UTC))


def file_of(predictions: Predictions, name: str, errors: int = 0) -> Written:
    folder = Path(predictions.partition("2013-01-31"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.parquet"
    rows = {"id": [1, 2, 3], "probability": [0.5] * 3, "error": ["x"] * errors + [None] * (3 - errors)}
    pq.write_table(pa.table(rows, SCHEMA), path)
    return Written(str(path), path.stat().st_size, 3, errors)


def record_of(key: str) -> dict[str, Any]:
    return {"commit_key": key, "logical_date": "2013-01-31", "run_id": f"run-{key}"}


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (OSError(errno.EAGAIN, "All DataNodes failed"), StorageError),
        (OSError("Corrupt snappy compressed data"), DataRejected),
    ],
)
def test_a_storage_in_trouble_is_no_damaged_file(
    trouble: OSError, kind: type[Exception], table: TableVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(path: str, *_: object) -> BinaryIO:
        raise trouble

    monkeypatch.setattr(predictions, "open_input", opened)
    with pytest.raises(kind, match=r"clean\.parquet"):
        plan_schema(manifest_of("tiny", spec_of("multiclass")), table)


def test_columns_are_keys_split_outputs_error_and_versions(table: TableVersion) -> None:
    schema = plan_schema(manifest_of("tiny", spec_of("multiclass")), table)
    assert {field.name: str(field.type) for field in schema} == {
        "id": "int64",
        "split": "string",
        "probabilities": "list<element: float>",
        "class": "string",
        "error": "string",
        "model_version": "int64",
        "model_digest": "string",
        "table_version": "int64",
    }


def test_a_key_with_the_name_of_an_output_is_a_configuration_error(table: TableVersion, tmp_path: Path) -> None:
    pq.write_table(pa.table({"class": [1, 2]}), tmp_path / "clean.parquet")
    spec = spec_of("binary").model_copy(update={"key": ("class",)})
    with pytest.raises(ConfigError, match="'class' is the name of another column"):
        plan_schema(manifest_of("tiny", spec), table)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"amount": None}, "amount: expected a column of type float32 in tiny/clean version 7, found no such column"),
        ({"amount": "double"}, "amount: expected type float32, found float64 in tiny/clean version 7"),
        ({"amount": "decimal(5,2)"}, "amount: expected a column of type"),
        ({"id": None}, "id: expected a key column in tiny/clean version 7"),
    ],
)
def test_a_table_that_does_not_fit_the_model(change: dict[str, str | None], said: str, table: TableVersion) -> None:
    columns = {name: kind for name, kind in {**COLUMNS, **change}.items() if kind}
    manifest = manifest_of("tiny", spec_of("binary"))
    check_features(manifest, table)
    with pytest.raises(FeatureMismatch) as caught:
        check_features(manifest, replace(table, columns=columns))
    assert str(caught.value).startswith(said)


def test_a_commit_is_found_by_its_key(store: Store) -> None:
    predictions = Predictions(store, "tiny")
    assert predictions.find_commit("a") is None
    predictions.append([file_of(predictions, "f"), file_of(predictions, "g", errors=2)], SCHEMA, record_of("a"))
    predictions.append([file_of(predictions, "h")], SCHEMA, record_of("b"))
    found = predictions.find_commit("a")
    assert found
    assert found[1]["run_id"] == "run-a"
    assert predictions.count_added(found[0]) == (6, 2)
    assert predictions.find_commit("c") is None


def test_a_key_is_committed_once(store: Store) -> None:
    predictions = Predictions(store, "tiny")
    predictions.append([file_of(predictions, "f")], SCHEMA, record_of("a"))
    version = predictions.find_commit("a")
    predictions.append([file_of(predictions, "g")], SCHEMA, record_of("a"))
    assert predictions.find_commit("a") == version
    assert Predictions(store, "tiny")._open(SCHEMA).version() == 1


@pytest.mark.case("B5")
def test_a_commit_whose_entry_the_log_lost_is_none_of_the_others(store: Store) -> None:
    predictions = Predictions(store, "tiny")
    for key in ("a", "b", "c"):
        predictions.append([file_of(predictions, key)], SCHEMA, record_of(key))
    table = predictions._open(SCHEMA)
    assert table.metadata().configuration == KEPT_LOG
    table.create_checkpoint()
    log = Path(store.root, *table_parts("tiny", PREDICTIONS), "_delta_log")
    for number in range(3):
        (log / f"{number:020}.json").unlink()
    assert predictions.find_commit("a") == (None, {})
    found = predictions.find_commit("c")
    assert found
    assert found[1]["run_id"] == "run-c"


def test_a_table_of_an_older_release_keeps_its_log_from_now_on(store: Store) -> None:
    predictions = Predictions(store, "tiny")
    DeltaTable.create(predictions.uri, SCHEMA.append(pa.field(DATE, pa.date32())), partition_by=[DATE])
    predictions.append([file_of(predictions, "f")], SCHEMA, record_of("a"))
    assert DeltaTable(predictions.uri).metadata().configuration == KEPT_LOG


def append_at_once(root: str, number: int, barrier: Any) -> None:
    """One of several processes that commit the same key."""
    predictions = Predictions(Store(root), "tiny")
    written = file_of(predictions, f"f{number}")
    barrier.wait()
    try:
        predictions.append([written], SCHEMA, record_of("a"))
    except StorageError:
        pass  # another was first; the log says which


def test_of_several_writers_with_one_key_one_commits(store: Store) -> None:
    predictions = Predictions(store, "tiny")
    predictions.append([file_of(predictions, "first")], SCHEMA, record_of("other"))
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(4)
    workers = [context.Process(target=append_at_once, args=(store.root, n, barrier)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    found = predictions.find_commit("a")
    assert found
    assert predictions.count_added(found[0]) == (3, 0)
    assert len(predictions._open(SCHEMA).file_uris()) == 2


def test_a_new_output_widens_the_table_and_another_type_is_refused(store: Store) -> None:
    predictions = Predictions(store, "tiny")
    predictions.append([file_of(predictions, "f")], SCHEMA, record_of("a"))
    wider = SCHEMA.append(pa.field("score", pa.float64()))
    predictions.append([file_of(predictions, "g")], wider, record_of("b"))
    assert [f.name for f in predictions._open(SCHEMA).schema().fields][-1] == "score"
    with pytest.raises(TableDiffers, match="column 'probability' is"):
        predictions.append([], pa.schema([("probability", pa.string())]), record_of("c"))


def test_a_damaged_log_is_a_storage_error(store: Store) -> None:
    predictions = Predictions(store, "tiny")
    predictions.append([file_of(predictions, "f")], SCHEMA, record_of("a"))
    for path in Path(predictions.uri, "_delta_log").glob("*.json"):
        path.write_text("{")
    with pytest.raises(StorageError, match="table 'predictions'"):
        predictions.find_commit("a")


def test_dates() -> None:
    assert parse_date("2013-01-31") == "2013-01-31"
    for wrong in ("yesterday", "2013-02-30", "../2013", ""):
        with pytest.raises(ConfigError, match="expected a date"):
            parse_date(wrong)
