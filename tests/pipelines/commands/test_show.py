"""Tables for people on stderr; the same as JSON on stdout when nobody looks."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from millrace.config.sections.serve import Serve, ServedModel
from millrace.errors import ArtifactNotFound, InputMissing
from millrace.features.spec import Label
from millrace.models.manifest import ModelDamaged
from millrace.models.store import ModelStore
from millrace.runs import RunRecord
from millrace.storage import Store
from pipelines.commands.show import list_models, list_tables, show_metrics, show_model, show_stages, show_table
from serve.servables.manager import ServableManager
from serve.server.app import Application
from tests.millrace.manifests import export, manifest_of
from tests.serve.client import ask
from tests.serve.foreign import write_foreign
from tests.serve.models import publish


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


@pytest.fixture(scope="module")
def foreign_root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with version 7 of `half`, which another system wrote."""
    root = tmp_path_factory.mktemp("foreign")
    write_foreign(root / "models" / "half" / "7")
    return str(root)


@pytest.mark.tf
@pytest.mark.case("F5")
def test_a_model_of_another_system(foreign_root: str, capsys: pytest.CaptureFixture[str]) -> None:
    list_models(foreign_root, "local")
    out, err = capsys.readouterr()
    (found,) = json.loads(out)["models"]
    assert (found["name"], found["versions"], found["foreign"]) == ("half", [7], True)
    assert "a SavedModel of another system" in err
    show_model("half", None, foreign_root, "local")
    out, err = capsys.readouterr()
    assert json.loads(out)["version"] == 7
    assert "serving_default" in err
    assert "serve.models: {half: {allow_foreign: true}}" in err
    Path(foreign_root, "models", "half", "8").mkdir()
    Path(foreign_root, "models", "half", "8", "saved_model.pb").write_bytes(b"\xff")
    with pytest.raises(ModelDamaged, match="is not a SavedModel") as caught:
        show_model("half", 8, foreign_root, "local")
    assert "into the store again" in caught.value.hint
    shutil.rmtree(Path(foreign_root, "models", "half", "8"))


def seen(app: Application, name: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The datatype of each tensor of the default signature: in V2's metadata and configuration, in TF Serving's."""
    v2 = ask(app, "GET", f"/v2/models/{name}").json()
    config = ask(app, "GET", f"/v2/models/{name}/config").json()
    tfs = ask(app, "GET", f"/v1/models/{name}/metadata").json()["metadata"]["signature_def"]["signature_def"]
    default = tfs["serving_default"]
    return (
        {one["name"]: one["datatype"] for one in v2["inputs"] + v2["outputs"]},
        {one["name"]: one["data_type"] for one in config["input"] + config["output"]},
        {key: info["dtype"] for key, info in {**default["inputs"], **default["outputs"]}.items()},
    )


def as_tensorflow(datatype: str) -> str:
    """TensorFlow's name of a datatype of V2."""
    names = {"BYTES": "STRING", "FP32": "FLOAT", "FP64": "DOUBLE", "FP16": "HALF", "BF16": "BFLOAT16"}
    return f"DT_{names.get(datatype, datatype)}"


@pytest.mark.tf
@pytest.mark.case("S4")
def test_the_types_that_a_client_sees_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = ModelStore(Store(str(tmp_path)))
    publish(models, "tiny", "binary")
    write_foreign(tmp_path / "models" / "half" / "7")
    manager = ServableManager(models, {"tiny": ServedModel(), "half": ServedModel(allow_foreign=True)})
    manager.load()
    app = Application(manager, Serve())
    show_model("tiny", None, str(tmp_path), "local")
    out, err = capsys.readouterr()
    v2, config, tfs = seen(app, "tiny")
    shown = {tensor["name"]: tensor["datatype"] for tensor in json.loads(out)["tensors"]}
    assert shown == v2
    assert {name: as_tensorflow(datatype) for name, datatype in v2.items()} == tfs
    assert {
        name: f"TYPE_{as_tensorflow(d).removeprefix('DT_')}" if d == "BYTES" else f"TYPE_{d}" for name, d in v2.items()
    } == config
    for datatype in {*v2.values()}:
        assert datatype in err
    show_model("half", None, str(tmp_path), "local")
    signatures = {one["name"]: one["tensors"] for one in json.loads(capsys.readouterr().out)["signatures"]}
    metadata = ask(app, "GET", "/v1/models/half/metadata").json()["metadata"]["signature_def"]["signature_def"]
    for name, tensors in signatures.items():
        expected = {**metadata[name]["inputs"], **metadata[name]["outputs"]}
        assert {t["name"]: as_tensorflow(t["datatype"]) for t in tensors} == {
            k: i["dtype"] for k, i in expected.items()
        }
        for tensor in tensors:
            shape = expected[tensor["name"]]["tensor_shape"]
            assert tensor["shape"] == (None if shape["unknown_rank"] else [int(dim["size"]) for dim in shape["dim"]])
    assert seen(app, "half")[0] == {t["name"]: t["datatype"] for t in signatures["serving_default"]}
