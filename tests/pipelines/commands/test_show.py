"""Tables for people on stderr; the same as JSON on stdout when nobody looks."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from millrace.errors import ArtifactNotFound, InputMissing
from millrace.features.spec import Label
from millrace.models.manifest import ModelDamaged
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
    assert found["broken"] == {"name": "broken", "versions": [1], "damaged": "model.json is not valid"}
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


@pytest.fixture
def foreign_root(root: str, tmp_path: Path) -> str:
    """The store, and a SavedModel of two versions that another system wrote; the first has no signature."""
    from tensorflow.core.protobuf import saved_model_pb2

    for version in (1, 2):
        model = saved_model_pb2.SavedModel()
        graph = model.meta_graphs.add()
        graph.meta_info_def.tags.append("serve")
        if version == 2:
            signature = graph.signature_def["serving_default"]
            signature.method_name = "tensorflow/serving/predict"
            signature.inputs["image"].CopyFrom(tensor_info("a:0", "DT_FLOAT", -1, 28, 28))
            signature.outputs["[red]\x1b[31m"].CopyFrom(tensor_info("b:0", "DT_STRING"))
            signature.outputs["any"].CopyFrom(tensor_info("c:0", "DT_HALF", None))
        folder = Path(root) / "models" / "other" / str(version)
        (folder / "variables").mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(model.SerializeToString())
        (folder / "variables" / "variables.index").write_bytes(b"x" * 1234)
    return root


def tensor_info(name: str, dtype: str, *sizes: int | None) -> Any:
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.protobuf import meta_graph_pb2

    info = meta_graph_pb2.TensorInfo(name=name, dtype=types_pb2.DataType.Value(dtype))
    for size in sizes:
        if size is None:
            info.tensor_shape.unknown_rank = True
        else:
            info.tensor_shape.dim.add(size=size)
    return info


@pytest.mark.case("F5")
@pytest.mark.tf
def test_a_model_of_another_system_is_not_called_damaged(foreign_root: str, capsys: pytest.CaptureFixture[str]) -> None:
    list_models(foreign_root, "local")
    out, err = capsys.readouterr()
    found = {model["name"]: model for model in json.loads(out)["models"]}
    assert found["other"] == {"name": "other", "versions": [1, 2], "foreign": True}
    assert "written by another system" in err
    assert "served with serve.models: {other:" in err
    assert "damaged" in found["broken"]


@pytest.mark.case("F5", "S3")
@pytest.mark.tf
def test_a_model_of_another_system_shows_its_signatures(foreign_root: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_model("other", None, foreign_root, "local")
    out, err = capsys.readouterr()
    shown = json.loads(out)
    assert (shown["name"], shown["version"], shown["foreign"]) == ("other", 2, True)
    assert shown["signatures"] == {
        "serving_default": {
            "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 28, 28]}],
            "outputs": [
                {"name": "[red]\x1b[31m", "datatype": "BYTES", "shape": []},
                {"name": "any", "datatype": "FP16", "shape": [-1]},
            ],
            "method": "tensorflow/serving/predict",
        }
    }
    files = {file["path"]: file["size"] for file in shown["files"]}
    assert files["variables/variables.index"] == 1234
    for words in ("other version 2, signature serving_default", "[-1, 28, 28]", "FP32", "1,234", "[red]�[31m"):
        assert words in err
    show_model("other", 1, foreign_root, "local")
    assert json.loads(capsys.readouterr().out)["signatures"] == {}
    (Path(foreign_root) / "models" / "other" / "2" / "saved_model.pb").write_bytes(b"x")
    with pytest.raises(ModelDamaged, match=r"saved_model.pb is not a SavedModel") as caught:
        show_model("other", 2, foreign_root, "local")
    assert "into the store again" in caught.value.hint


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


@pytest.mark.case("F5")
def test_one_model_that_cannot_be_read_hides_no_other(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that was copied where a version is expected."""
    (Path(root) / "models" / "file").mkdir(parents=True)
    (Path(root) / "models" / "file" / "1").write_bytes(b"keras")
    list_models(root, "local")
    out, err = capsys.readouterr()
    found = {model["name"]: model for model in json.loads(out)["models"]}
    assert {"good", "broken", "file"} <= found.keys()
    assert "Not a directory" in found["file"]["damaged"]
    assert "Not a directory" in err
