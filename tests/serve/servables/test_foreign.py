"""Versions that another system wrote into the store."""

import gc
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from millrace.config.sections.serve import ServedModel
from millrace.models.manifest import ModelDamaged
from millrace.models.store import ModelStore
from millrace.storage import Store
from pipelines.commands.cli import app
from pipelines.hadoop.cluster import Cluster
from serve.errors import InvalidRequest, ModelNotFound
from serve.servables.foreign import foreign_copy
from serve.servables.manager import ServableManager
from serve.servables.saved_model import MAX_BATCH, LoadedModel
from tests.serve.foreign import ECHOED
from tests.serve.values.test_tensors import array_of

pytestmark = pytest.mark.tf


@pytest.fixture
def store_with(foreign: Path, store: Store) -> ModelStore:
    """A store with version 7 of `half`."""
    store.publish_folder(Path(shutil.copytree(foreign, foreign.parent / f"{id(store)}")), "models", "half", "7")
    return ModelStore(store)


def test_is_served_where_it_is_allowed(store_with: ModelStore) -> None:
    manager = ServableManager(store_with, {"half": ServedModel(allow_foreign=True)})
    manager.load()
    servable = manager.get("half")
    assert (servable.name, servable.version, servable.spec) == ("half", 7, None)
    assert servable.infer({"x": np.array([[1, 3]], np.float32)})["y"].tolist() == [[2.5, 3.5]]
    manager = ServableManager(store_with, {"half": ServedModel()})
    manager.load()
    assert "it has no model.json" in manager.problems["half"]
    assert "allow_foreign: true" in manager.problems["half"]
    with pytest.raises(ModelNotFound), foreign_copy(store_with, "half", 8):
        pytest.fail("there is no version 8")


def test_every_dtype_and_rank_comes_back(foreign: Path) -> None:
    check_echo(LoadedModel.load_foreign("half", 1, foreign))


def check_echo(servable: LoadedModel) -> None:
    """Every dtype and rank comes back as it was sent."""
    inputs = {
        dtype: array_of(dtype, tuple(2 if size == -1 else size for size in shape)) for dtype, shape in ECHOED.items()
    }
    answered = servable.infer({f"{dtype}_in": values for dtype, values in inputs.items()}, signature="echo")
    for dtype, values in inputs.items():
        assert (answered[dtype].dtype, answered[dtype].shape) == (values.dtype, values.shape)
        np.testing.assert_array_equal(answered[dtype], values)


def test_requests_are_joined_only_where_somebody_knows(foreign: Path) -> None:
    unlike = {"x": np.ones((3, 2), np.float32)}
    servable = LoadedModel.load_foreign("half", 1, foreign)
    assert servable.check(servable.signatures["double"], unlike) is None
    joined = LoadedModel.load_foreign("half", 1, foreign, joins=True)
    assert joined.check(joined.signatures["double"], unlike) == 3


def test_numbers_that_are_none_pass(foreign: Path) -> None:
    servable = LoadedModel.load_foreign("half", 1, foreign)
    odd = np.array([np.nan, np.inf, -np.inf], np.float32)
    np.testing.assert_array_equal(servable.infer({"x": odd})["y"], odd)


def test_what_the_graph_refuses_is_the_requests_fault(foreign: Path) -> None:
    servable = LoadedModel.load_foreign("half", 1, foreign)
    with pytest.raises(InvalidRequest, match="parse"):
        servable.infer({"inputs": np.array([b"no example"], object)}, signature="classify_x_to_y")


@pytest.mark.parametrize("damage", ["saved_model.pb", "variables/variables.index"])
def test_what_cannot_be_loaded_is_told(foreign: Path, tmp_path: Path, damage: str) -> None:
    folder = Path(shutil.copytree(foreign, tmp_path / "7"))
    (folder / damage).write_bytes(b"x")
    with pytest.raises(ModelDamaged, match="TensorFlow cannot load it"):
        LoadedModel.load_foreign("half", 7, folder)


@pytest.mark.hdfs
@pytest.mark.case("F5")
def test_is_put_into_hdfs_by_a_command(hdfs: Cluster, foreign: Path) -> None:
    """As docs/serving.md says; and it is listed and shown from there."""
    root, profile = f"{hdfs.hdfs}/put", str(hdfs.folder / "profiles" / "outside.yaml")
    put = CliRunner().invoke(app, ["data", "put", str(foreign), "/put/models/half/1", "--profile", profile])
    assert put.exit_code == 0, put.output
    shown = CliRunner().invoke(app, ["models", "show", "half", "--store", root])
    assert json.loads(shown.stdout)["signatures"]["double"]["outputs"][0]["datatype"] == "FP32"
    listed = CliRunner().invoke(app, ["models", "list", "--store", root])
    assert json.loads(listed.stdout)["models"] == [{"name": "half", "versions": [1], "foreign": True}]
    manager = ServableManager(ModelStore(Store(root)), {"half": ServedModel(allow_foreign=True)})
    manager.load()
    assert manager.get("half").infer({"x": np.float32(2)})["y"] == 3
    refused = CliRunner().invoke(app, ["models", "push", "half", "--store", root, "--profile", profile])
    assert refused.exit_code == 5
    assert "millrace data put" in refused.stderr


@pytest.mark.hdfs
@pytest.mark.case("B24")
def test_is_fetched_from_hdfs_and_removed_with_the_version(
    hdfs: Cluster, foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path / "cache"))
    store = Store(f"{hdfs.hdfs}/foreign")
    store.publish_folder(Path(shutil.copytree(foreign, tmp_path / "half")), "models", "half", "1")
    manager = ServableManager(ModelStore(store), {"half": ServedModel(allow_foreign=True)})
    manager.load()
    assert manager.get("half").infer({"x": np.float32(2)})["y"] == 3
    (copy,) = (path for path in (tmp_path / "cache" / "foreign").iterdir() if path.is_dir())
    assert manager.get("half").origin.folder == copy
    manager.unload_model("half")
    gc.collect()
    assert list((tmp_path / "cache" / "foreign").iterdir()) == []


@pytest.mark.case("S1")
def test_many_rows_are_one_call_if_the_outputs_are_not_rows(uneven: Path) -> None:
    servable = LoadedModel.load_foreign("uneven", 1, uneven)
    x = np.tile(np.array([1, 5], np.float32), MAX_BATCH)
    answered = servable.answer(servable.signatures["serving_default"], {"x": x}, len(x))
    assert answered["unique"].tolist() == [1, 5]
    np.testing.assert_array_equal(answered["same"], 2 * x)
