"""What is loaded, and where."""

import shutil
from pathlib import Path

import pytest

from millrace.config.sections.serve import ServedModel
from millrace.models.manifest import ModelDamaged
from millrace.models.store import ModelStore
from millrace.storage import Store
from serve.errors import ModelNotFound
from serve.servables.loader import Load, Loader
from serve.servables.saved_model import LoadedModel
from serve.servables.servable import Servable

pytestmark = pytest.mark.tf


def test_a_version_of_ours_is_warmed_up_by_the_sizes_in_use(
    model_store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    warm_up = LoadedModel._warm_up

    def spy(self: LoadedModel, signature: str, rows: int, known: None) -> None:
        sizes.append(rows)
        warm_up(self, signature, rows, known)

    monkeypatch.setattr(LoadedModel, "_warm_up", spy)
    assert Loader(model_store).load("tiny", 1, ServedModel(), [128, 64]).origin.label == "tiny/1"
    assert sizes == [1, 2, 64, 128]


def test_the_host_is_told_what_to_load(model_store: ModelStore) -> None:
    told: list[str] = []

    def host(place: str, load: Load) -> Servable:
        told.append(place)
        return load()

    Loader(model_store, host=host).load("tiny", 2, ServedModel())
    assert told == ["tiny/2"]


def test_one_from_elsewhere_only_where_that_is_allowed(foreign: Path, tmp_path: Path) -> None:
    shutil.copytree(foreign, tmp_path / "models" / "half" / "1")
    loader = Loader(ModelStore(Store(str(tmp_path))))
    with pytest.raises(ModelDamaged, match=r"it has no model.json.*allow_foreign: true"):
        loader.load("half", 1, ServedModel())
    assert not loader.load("half", 1, ServedModel(allow_foreign=True)).joins
    assert loader.load("half", 1, ServedModel(allow_foreign=True, join_requests=True)).joins
    with pytest.raises(ModelNotFound):
        loader.load("half", 2, ServedModel(allow_foreign=True))
