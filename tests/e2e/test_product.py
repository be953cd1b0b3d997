"""All stages of a product with three classes and every type: counts, predictions, and a second run."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.storage import Store
from millrace.tables.versions import PREDICTIONS, find_table
from pipelines.jobs.service import request_predictions, service
from tests.e2e.commands import Done, run_command
from tests.e2e.conftest import ROWS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def test_every_row_is_accounted_for_in_every_stage(finished: Done, made: Store) -> None:
    stages = finished.result["stages"]
    assert [(s["stage"], s["outcome"], s["rows_in"]) for s in stages] == [
        ("ingest", "committed", ROWS),
        ("train", "committed", ROWS),
        ("score", "committed", ROWS),
    ]
    assert all(s["rows_in"] == s["rows_out"] + s["rejected"] + s["filtered"] for s in stages)


def test_messages_go_to_stderr_and_one_result_to_stdout(finished: Done, made: Store) -> None:
    assert len(finished.out.strip().splitlines()) == 1
    assert "epoch 3" in finished.err
    assert "rows out" in finished.err
    assert "Traceback" not in finished.err


def test_training_batch_and_rest_give_the_same_probabilities(home: Path, finished: Done, made: Store) -> None:
    sample = pq.read_table(Path(made.uri(finished.result["stages"][1]["details"]["sample"])))
    assert sample.num_rows == 1_000
    trained = {row["id"]: row["output.probabilities"] for row in sample.to_pylist()}
    batch = {row["id"]: row["probabilities"] for row in _predictions(made)}
    names = ["colour", "round", "corners", "weight", "size", "found"]
    rows: list[dict[str, Any]] = sample.select(names).to_pylist()
    with service(Path(home, "shapes.yaml"), "local", [f"store.root={made.root}"]) as address:
        predictions = request_predictions(address, "shapes", rows)["predictions"]
    for number, prediction in zip(sample["id"].to_pylist(), predictions, strict=True):
        assert prediction["probabilities"] == pytest.approx(trained[number], abs=1e-6)
        assert batch[number] == pytest.approx(trained[number], abs=1e-6)


def _predictions(store: Store) -> list[dict[str, Any]]:
    version = find_table(store, "shapes", PREDICTIONS)
    rows: list[dict[str, Any]] = pa.concat_tables(
        [pq.read_table(file.path, partitioning=None) for file in version.files]
    ).to_pylist()
    assert len(rows) == ROWS
    return rows


def test_a_second_run_changes_nothing_and_reports_it(home: Path, made: Store) -> None:
    again = run_command(home, "millrace", "run", "shapes.yaml")
    assert again.code == 0, again.err
    assert [s["outcome"] for s in again.result["stages"]] == ["already_committed"] * 3
    assert len(_predictions(made)) == ROWS


def test_commands_show_models_and_tables(home: Path, made: Store) -> None:
    models = run_command(home, "millrace", "models", "list")
    assert models.result["models"][0]["versions"] == [1]
    shown = run_command(home, "millrace", "models", "show", "shapes")
    assert shown.result["lineage"]["table"] == "shapes/clean"
    tables = run_command(home, "millrace", "tables", "show", "shapes/clean")
    assert tables.result["rows"] == ROWS
    missing = run_command(home, "millrace", "models", "show", "shaeps")
    assert (missing.code, missing.out) == (4, "")
    assert "there is no model 'shaeps' in the store" in missing.err
