"""A loaded model version: what it refuses to load, what it answers, what it refuses to answer."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from millrace.features.encoding import INT64_MIN, Dictionary, encode
from millrace.models.manifest import ModelDamaged, ModelVersion
from serve.errors import InvalidRequest, NonFiniteOutput
from serve.servables import saved_model as module
from serve.servables.manager import ServableManager
from serve.servables.saved_model import LoadedModel
from serve.servables.servable import Arrays, Servable, non_finite_rows
from tests.serve.models import INPUTS, POISON

pytestmark = pytest.mark.tf


def rows(count: int = 3) -> Arrays:
    """Arrays that fit the models over all dtypes."""
    made: Arrays = {}
    for feature in INPUTS:
        if feature.tensor_dtype == "string":
            made[feature.name] = np.array([b"Oslo", b"", b"x"] * count, object)[:count]
        else:
            made[feature.name] = np.arange(count).astype(feature.tensor_dtype)
    return made


def flip_a_byte(folder: Path) -> None:
    path = folder / "saved_model.pb"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def drop_a_file(folder: Path) -> None:
    (folder / "variables" / "variables.index").unlink()


def add_a_file(folder: Path) -> None:
    (folder / "assets").mkdir(exist_ok=True)
    (folder / "assets" / "more.txt").write_text("x")


def empty_a_file(folder: Path) -> None:
    (folder / "fingerprint.pb").write_bytes(b"")


@pytest.mark.parametrize("damage", [flip_a_byte, drop_a_file, add_a_file, empty_a_file])
def test_a_damaged_version_never_reaches_tensorflow(
    damage: Callable[[Path], None], tiny_version: ModelVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tiny" / "2"
    shutil.copytree(tiny_version.folder, folder)
    damage(folder)
    monkeypatch.setattr(module, "load_functions", lambda *_: pytest.fail("TensorFlow was asked"))
    with pytest.raises(ModelDamaged, match="model tiny version 2"):
        LoadedModel.load(ModelVersion(str(folder), tiny_version.manifest))


def test_a_manifest_that_lies_about_the_signature_is_refused(tiny_version: ModelVersion) -> None:
    manifest = tiny_version.manifest
    spec = manifest.features.model_copy(update={"inputs": manifest.features.inputs[1:]})
    with pytest.raises(ModelDamaged, match="input 'amount': its manifest says None"):
        LoadedModel.load(ModelVersion(tiny_version.uri, manifest.model_copy(update={"features": spec})))
    wrong = manifest.model_copy(update={"outputs": {"probability": "float64", "class": "int64"}})
    with pytest.raises(ModelDamaged, match="output 'probability': its manifest says float64"):
        LoadedModel.load(ModelVersion(tiny_version.uri, wrong))


def test_answers_every_task(manager: ServableManager) -> None:
    binary = manager.get("tiny").infer(rows())
    assert {n: (a.dtype.name, a.shape) for n, a in binary.items()} == {
        "probability": ("float32", (3,)),
        "class": ("int64", (3,)),
    }
    kinds = manager.get("kinds").infer(rows())
    assert kinds["probabilities"].shape == (3, 3)
    assert set(kinds["class"]) <= {b"low", b"mid", b"high"}
    assert manager.get("size").infer({"amount": rows()["amount"]})["prediction"].shape == (3,)


def test_one_row_answers_as_in_a_batch(tiny: LoadedModel) -> None:
    whole = tiny.infer(rows(50))["probability"]
    alone = [tiny.infer({n: a[i : i + 1] for n, a in rows(50).items()})["probability"][0] for i in range(50)]
    np.testing.assert_allclose(whole, alone, atol=1e-6)


def test_more_rows_than_a_batch_are_answered_in_turns(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tiny.infer(rows(10))
    monkeypatch.setattr(module, "MAX_BATCH", 4)
    for name, values in tiny.infer(rows(10)).items():
        np.testing.assert_allclose(values, whole[name], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"amount": None}, "input 'amount' is missing"),
        ({"more": np.zeros(3)}, "the model has no input 'more'"),
        ({"amount": np.zeros(3)}, "input 'amount': expected float32, found float64"),
        ({"city": np.array(["a", "b", "c"])}, "input 'city': expected string, found str"),
        ({"amount": np.zeros((3, 1), np.float32)}, "input 'amount': expected shape [-1], found [3, 1]"),
        ({"amount": np.float32(1)}, "expected shape [-1], found []"),
        ({"amount": np.zeros(4, np.float32)}, "inputs differ in length"),
        ({"count": Dictionary(np.array(["a"], object), np.zeros(3, np.int32))}, "expected int64, found string"),
    ],
)
def test_refuses_before_tensorflow_is_called(
    change: Arrays, said: str, tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny._functions, "bind", lambda *_: pytest.fail("TensorFlow was called"))
    inputs = {name: values for name, values in {**rows(), **change}.items() if values is not None}
    with pytest.raises(InvalidRequest) as caught:
        tiny.infer(inputs)
    assert said in str(caught.value)


def test_table_columns_answer_as_arrays_do(tiny: LoadedModel) -> None:
    inputs = rows(7)
    columns = {}
    for feature in INPUTS:
        values = inputs[feature.name]
        if feature.tensor_dtype == "string":
            table = pa.array([v.decode() or None if feature.nullable else v.decode() for v in values])
        else:
            table = pa.array(values)
        columns[feature.name] = encode(table if feature.dtype != "bool" else table.cast(pa.bool_()), feature)
    inputs["maybe"] = (inputs["maybe"] != 0).astype(np.int64)
    np.testing.assert_array_equal(tiny.infer_encoded(columns)["probability"], tiny.infer(inputs)["probability"])


def test_table_columns_are_answered_in_turns_too(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = Dictionary(np.array(["Oslo", "x"], object), np.array([0, 1] * 5, np.int32))
    columns = {**rows(10), "city": texts, "note": texts}
    whole = tiny.infer_encoded(columns)["probability"]
    monkeypatch.setattr(module, "MAX_BATCH", 3)
    np.testing.assert_allclose(tiny.infer_encoded(columns)["probability"], whole, atol=1e-6)


def test_missing_values_count_as_missing(tiny: LoadedModel) -> None:
    inputs = rows(2)
    inputs["weight"][:] = np.nan
    inputs["code"][:] = INT64_MIN
    inputs["seen"][:] = INT64_MIN
    assert np.isfinite(tiny.infer(inputs)["probability"]).all()


def test_shows_the_signature_of_the_graph(tiny: LoadedModel) -> None:
    shown = tiny.signatures["serving_default"].definition
    assert shown["inputs"]["amount"]["dtype"] == "DT_FLOAT"
    assert shown["inputs"]["amount"]["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    assert {name: output["dtype"] for name, output in shown["outputs"].items()} == {
        "probability": "DT_FLOAT",
        "class": "DT_INT64",
    }


def test_answers_only_the_outputs_asked_for(tiny: Servable) -> None:
    assert list(tiny.infer(rows(), ["class"])) == ["class"]
    with pytest.raises(InvalidRequest, match="no output 'clas'; it has class, probability"):
        tiny.infer(rows(), ["clas"])


def test_an_answer_that_is_no_number_is_an_error(tiny: Servable) -> None:
    inputs = rows(5)
    inputs["amount"][[1, 3]] = POISON
    with pytest.raises(NonFiniteOutput) as caught:
        tiny.infer(inputs)
    assert (caught.value.output, caught.value.rows) == ("probability", (1, 3))


def test_finds_rows_that_are_no_numbers() -> None:
    outputs = {
        "p": np.array([[1, 2], [np.nan, 1], [1, np.inf]]),
        "q": np.ones(3),
        "class": np.array([b"a"] * 3, object),
    }
    assert {name: bad.tolist() for name, bad in non_finite_rows(outputs).items()} == {"p": [False, True, True]}
