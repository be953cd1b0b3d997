"""Which loader serves a SavedModel, and what both loaders answer."""

import logging
import os
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from millrace.models.manifest import ModelDamaged, ModelVersion
from serve.errors import InvalidRequest
from serve.isolation.parent import IsolatedServable
from serve.servables.functions.eager import EagerFunctions
from serve.servables.functions.graph import GraphFunctions
from serve.servables.functions.loading import load_functions
from serve.servables.functions.runtime import import_tensorflow
from serve.servables.saved_model import LoadedModel
from serve.servables.servable import Arrays, Origin
from serve.servables.signatures import read_signatures
from tests.serve.foreign_graphs import run_graph, spoil_objects, write_graph
from tests.serve.servables.test_foreign import check_echo

pytestmark = [pytest.mark.tf, pytest.mark.case("F5")]

INPUTS: Arrays = {
    "words": np.array([b"Rome", b"elsewhere", b"Oslo"], object),
    "number": np.array([1, 2, 3], np.float32),
}


@pytest.fixture(scope="module")
def old(foreign: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The foreign model, with objects that TensorFlow 2 cannot restore."""
    folder = Path(shutil.copytree(foreign, tmp_path_factory.mktemp("old") / "1"))
    spoil_objects(folder)
    return folder


def test_a_model_of_an_older_keras_is_served_by_its_graph(old: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(AttributeError, match="add_slot"):
        EagerFunctions(old, [])
    with caplog.at_level(logging.WARNING):
        servable = LoadedModel.load_foreign("half", 1, old)
    assert [r.getMessage() for r in caplog.records] == [
        "half/1: its graph is used, because TensorFlow 2 cannot load its objects: "
        "AttributeError: '_UserObject' object has no attribute 'add_slot'"
    ]
    x = np.array([[1, 3]], np.float32)
    definition = read_signatures(old)["serving_default"].definition
    feeds, fetches = {definition["inputs"]["x"]["name"]: x}, {"y": definition["outputs"]["y"]["name"]}
    expected = run_graph(old, feeds, fetches)
    np.testing.assert_array_equal(servable.infer({"x": x})["y"], expected["y"])


def test_every_dtype_and_rank_comes_back(old: Path) -> None:
    check_echo(LoadedModel.load_foreign("half", 1, old))


def test_errors_are_those_of_the_other_loader(old: Path) -> None:
    servable = LoadedModel.load_foreign("half", 1, old)
    with pytest.raises(InvalidRequest, match="Could not parse example input"):
        servable.infer({"inputs": np.array([b"no example"], object)}, signature="classify_x_to_y")


@pytest.mark.parametrize("loader", ["eager", "graph"])
@pytest.mark.parametrize("init", ["main_op", "legacy_init_op"])
@pytest.mark.parametrize("has_variables", [True, False])
def test_tables_and_assets_of_tensorflow_1(tmp_path: Path, init: str, has_variables: bool, loader: str) -> None:
    folder = tmp_path / "1"
    write_graph(folder, init, has_variables=has_variables)
    assert (folder / "variables" / "variables.index").exists() == has_variables
    (tmp_path / "words.txt").unlink()  # the table is filled from the asset
    if not has_variables:
        shutil.rmtree(folder / "variables", ignore_errors=True)
    signatures = read_signatures(folder)
    functions = EagerFunctions(folder, signatures) if loader == "eager" else GraphFunctions(folder, signatures, 1)
    answered = functions.bind(signatures["serving_default"], INPUTS)(None)
    feeds = {"words:0": INPUTS["words"], "number:0": INPUTS["number"]}
    expected = run_graph(
        folder, feeds, {"index": "index:0", "scaled": "scaled:0", "word": "upper:0", "total": "total:0"}
    )
    assert answered["index"].tolist() == [1, 3, 0]
    for name, values in expected.items():
        np.testing.assert_array_equal(answered[name], values)


def test_a_model_with_several_graphs(tmp_path: Path) -> None:
    write_graph(tmp_path / "1", twice=True)
    servable = LoadedModel.load_foreign("words", 1, tmp_path / "1")
    assert servable.infer(INPUTS)["index"].tolist() == [1, 3, 0]


def test_many_threads_call_one_graph(old: Path) -> None:
    servable = LoadedModel.load_foreign("half", 1, old)

    def ask(value: int) -> float:
        return float(servable.infer({"x": np.float32(value)})["y"])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(200))) == [value / 2 + 2 for value in range(200)]


def test_a_graph_in_a_process_of_its_own_is_started_again(old: Path) -> None:
    isolated = IsolatedServable("half/1", partial(LoadedModel.load_foreign, "half", 1, old, 1), 60)
    assert isolated.infer({"x": np.float32(2)})["y"] == 3
    assert isolated.pid
    os.kill(isolated.pid, signal.SIGKILL)
    assert isolated.infer({"x": np.float32(4)})["y"] == 4
    assert isolated.restarts == 1
    isolated.close()


def empty(path: Path) -> None:
    path.write_bytes(b"x" * 10_000)


def cut(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [empty, cut])
def test_if_both_loaders_fail_both_reasons_are_told(
    old: Path, foreign: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    for source in (old, foreign):
        folder = Path(shutil.copytree(source, tmp_path / source.parent.name / "half" / "7"))
        damage(folder / "variables" / "variables.index")
        with pytest.raises(ModelDamaged) as raised:
            LoadedModel.load_foreign("half", 7, folder)
        message = str(raised.value)
        assert "TensorFlow cannot load it: " in message
        assert "; nor its graph alone: " in message
        assert len(message) < 600
        assert str(tmp_path) not in message
        assert "publish" not in raised.value.hint
        assert "SavedModel" in raised.value.hint


def test_a_model_of_ours_is_never_loaded_by_its_graph(tiny_version: ModelVersion, old: Path) -> None:
    with pytest.raises(ModelDamaged, match="add_slot") as raised:
        load_functions(Origin("tiny", 2, old, "", tiny_version.manifest), None)
    assert raised.value.hint == "publish the model again"


def test_a_graph_with_a_device_of_another_machine_and_a_stricter_placeholder(tmp_path: Path) -> None:
    tf = import_tensorflow()
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 3], "x")
        with tf.device("/device:GPU:0"):  # of the machine that wrote it
            y = tf.reduce_sum(x, 1)
        declared = v1.saved_model.utils.build_tensor_info(x)
        declared.tensor_shape.dim[1].size = -1
        outputs = {"y": v1.saved_model.utils.build_tensor_info(y)}
        build = v1.saved_model.signature_def_utils.build_signature_def
        signature = build({"x": declared}, outputs, "tensorflow/serving/predict")
        builder = v1.saved_model.Builder(str(tmp_path / "1"))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    signatures = read_signatures(tmp_path / "1")
    functions = GraphFunctions(tmp_path / "1", signatures)
    model = LoadedModel(Origin("m", 1, tmp_path, "digest"), functions, signatures, joins=False)
    assert model.infer({"x": np.ones((2, 3), np.float32)})["y"].tolist() == [3, 3]
    with pytest.raises(InvalidRequest, match=r"input 'x': the graph takes shape \[None, 3\], found \[2, 4\]"):
        model.infer({"x": np.ones((2, 4), np.float32)})
