"""Tables for people on stderr; the same as JSON on stdout when nobody looks."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from millrace.errors import ArtifactNotFound, InputMissing
from millrace.features.spec import Label
from millrace.models.store import ModelStore
from millrace.runs import RunRecord
from millrace.storage import Store
from pipelines.commands.show import list_models, list_tables, show_metrics, show_model, show_stages, show_table
from tests.millrace.manifests import export, manifest_of


@pytest.fixture
def root(tmp_path: Path, store: Store) -> str:
    """A store with two models, one of them damaged, and a table of two versions."""
    models = ModelStore(store)
    for number in range(2):
        models.publish(export(tmp_path / str(number)), manifest_of("good"))
    broken = models.publish(export(tmp_path / "b"), manifest_of("broken"))
    (broken.folder / "model.json").write_text("{")
    path = Path(store.uri("tables", "p", "clean"))
    for first in (0, 10):
        rows = pa.table({"id": range(first, first + 10), "split": ["train"] * 8 + ["test"] * 2})
        write_deltalake(path, rows, mode="append", partition_by=["split"])
    return store.root


def test_models(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    list_models(root, "local")
    out, err = capsys.readouterr()
    found = {model["name"]: model for model in json.loads(out)["models"]}
    assert found["good"]["versions"] == [1, 2]
    assert found["broken"] == {"name": "broken", "versions": [1], "damaged": "model.json is missing or not valid"}
    assert "1, 2" in err
    assert "a small model" in err


def test_no_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    list_models(str(tmp_path), "local")
    assert json.loads(capsys.readouterr().out) == {"models": []}


def test_a_model(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_model("good", 1, root, "local")
    out, err = capsys.readouterr()
    assert (json.loads(out)["version"], json.loads(out)["features"]["inputs"][0]["transform"]["as"]) == (1, "numeric")
    for words in ("good version 1: inputs", "may be null", "0.7500", "0.5000", "p/clean version 3"):
        assert words in err


@pytest.mark.parametrize(
    ("label", "outputs", "meaning"),
    [
        ({"task": "binary", "classes": (0, 1)}, "probability", "that y is 1"),
        ({"task": "binary", "classes": ("no", "yes")}, "probability", "that y is 'yes'"),
        ({"task": "multiclass", "classes": ("a", "b", "c")}, "probabilities", "that y is 'a', 'b', 'c', in this order"),
        ({"task": "regression"}, "prediction", "of y"),
    ],
)
def test_what_the_outputs_of_a_model_mean(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], label: Any, outputs: str, meaning: str
) -> None:
    manifest = manifest_of("good")
    features = manifest.features.model_copy(update={"label": Label(name="y", **label)})
    changed = manifest.model_copy(update={"features": features, "outputs": {outputs: "float32"}})
    ModelStore(store).publish(export(tmp_path / "m"), changed)
    show_model("good", None, store.root, "local")
    assert meaning in capsys.readouterr().err


@pytest.mark.case("F8")
def test_rejects_where_there_are_none(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_table("p/rejects", None, root, "local")
    out, err = capsys.readouterr()
    assert (json.loads(out), err) == (
        {"name": "p/rejects", "version": None, "rows": 0},
        "p/rejects: no row was ever rejected\n",
    )
    with pytest.raises(ArtifactNotFound):
        show_table("q/rejects", None, root, "local")


def test_tables(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(root, "tables", "q", "clean", "split=test").mkdir(parents=True)  # what a first run leaves that was refused
    list_tables(root, "local")
    assert json.loads(capsys.readouterr().out) == {"tables": [{"name": "p/clean", "version": 1, "rows": 20}]}


@pytest.mark.parametrize(("version", "rows"), [(None, 20), (0, 10)])
def test_a_table(version: int | None, rows: int, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_table("p/clean", version, root, "local")
    out, err = capsys.readouterr()
    assert json.loads(out)["rows"] == rows
    assert json.loads(out)["columns"] == {"id": "long", "split": "string"}
    assert "validation" not in err
    assert "train" in err


def test_some_rows_of_a_table(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_table("p/clean", 0, root, "local", rows=3)
    out, err = capsys.readouterr()
    assert [sorted(row) for row in json.loads(out)["sample"]] == [["id", "split"]] * 3
    assert "example rows" in err


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    for show in (list_models, list_tables):
        with pytest.raises(InputMissing, match="there is no store at"):
            show(str(tmp_path / "nowhere"), "local")


def test_a_table_without_its_product(root: str) -> None:
    with pytest.raises(ArtifactNotFound) as caught:
        show_table("clean", None, root, "local")
    assert "flights/clean" in caught.value.hint


def test_stages_with_counts_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    record = RunRecord(stage="ingest", run_id="r", outcome="committed", rows_in=1_234_567, rows_out=1_234_567)
    show_stages([record, RunRecord(stage="train", run_id="r", outcome="failed")])
    out, err = capsys.readouterr()
    assert out == ""
    assert "1,234,567" in err
    assert "failed" in err


def test_metrics_beside_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    show_metrics({"model": {"auc": 0.8, "only_here": 1.0}, "baseline": {"auc": 0.5}, "previous": {}})
    err = capsys.readouterr().err
    assert "previous" not in err
    assert "0.8000" in err
    assert "only_here" in err
