"""Which versions of a model the settings load."""

import shutil
import time
from pathlib import Path

import pytest

from millrace.config.sections.serve import ServedModel
from millrace.errors import ArtifactNotFound
from millrace.models.store import ModelStore
from millrace.storage import Store
from serve.errors import ModelNotFound, Overloaded, UnknownLabel
from serve.servables.loader import Loader
from serve.servables.versions import requested
from serve.servables.versions.served import ServedVersions
from tests.serve import models

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    """Versions 1 to 4 of `size`; read only."""
    store = ModelStore(Store(str(tmp_path_factory.mktemp("versions"))))
    for bias in range(4):
        models.publish(store, "size", "regression", models.INPUTS[:1], bias=bias)
    return store


def opened(store: ModelStore, kept: int = 0, **settings: object) -> ServedVersions:
    return ServedVersions("size", ServedModel.model_validate(settings), store, Loader(store), kept)


def loaded(served: ServedVersions) -> list[int]:
    return [servable.version for servable in served.all_loaded()]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [4]),
        ({"latest_count": 3}, [4, 2, 3]),
        ({"versions": "all"}, [4, 1, 2, 3]),
        ({"versions": [1, 3]}, [3, 1]),
        ({"versions": [2], "labels": {"canary": 4}}, [4, 2]),
        ({"labels": {"stable": 1}}, [4, 1]),
    ],
)
def test_what_the_settings_name_is_loaded(settings: dict[str, object], expected: list[int], store: ModelStore) -> None:
    served = opened(store, **settings)
    served.load()
    assert loaded(served) == expected
    assert served.refresh() is None
    assert loaded(served) == expected


def test_others_only_where_the_settings_allow_them(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requested, "KEPT_S", 0.0)
    latest = opened(store, kept=1, latest_count=2)
    latest.load()
    for version in (1, 2, 1):
        assert latest.get(version).version == version
    assert loaded(latest) == [4, 3, 1]
    listed = opened(store, versions=[3])
    listed.load()
    with pytest.raises(ModelNotFound):
        listed.get(4)
    with pytest.raises(ModelNotFound):
        listed.status(4)
    assert [s.version for s in listed.status()] == [3]
    with pytest.raises(UnknownLabel):
        listed.version_of("canary")


def test_settings_change_what_answers(store: ModelStore) -> None:
    served = opened(store)
    served.load()
    served.settings = ServedModel(versions=[2])
    assert served.get().version == 4  # until the next look
    assert served.refresh() == "loaded"
    assert loaded(served) == [2]
    served.settings = ServedModel(versions="all", labels={"stable": 1})
    assert served.refresh() == "loaded"
    assert (set(loaded(served)), loaded(served)[0], served.version_of("stable")) == ({1, 2, 3, 4}, 4, 1)


def test_what_is_named_and_not_there_is_told_once(store: ModelStore, caplog: pytest.LogCaptureFixture) -> None:
    served = opened(store, labels={"canary": 9})
    served.load()
    served.refresh()
    assert caplog.text.count("model size version 9, which the label canary names, is not in the store") == 1
    with pytest.raises(ArtifactNotFound):
        opened(store, versions=[7]).load()


def test_a_named_version_that_appears_is_loaded(store: ModelStore, tmp_path: Path) -> None:
    shutil.copytree(store.store.uri("models", "size", "4"), tmp_path / "models" / "size" / "4")
    served = opened(ModelStore(Store(str(tmp_path))), labels={"canary": 3})
    served.load()
    assert loaded(served) == [4]
    shutil.copytree(store.store.uri("models", "size", "3"), tmp_path / "models" / "size" / "3")
    assert served.refresh() is None
    assert loaded(served) == [4, 3]


def test_a_version_that_is_used_stays_and_one_that_is_only_looked_at_does_not(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one whose last request is longest ago makes room; readiness and status are no requests."""
    monkeypatch.setattr(requested, "KEPT_S", 0.0)
    served = opened(store, kept=2)
    served.load()
    for version in (1, 2, 1):
        served.get(version)
    served.loaded(2)
    served.status(2)
    served.get(3)
    assert set(loaded(served)) == {4, 1, 3}, "2 was requested before 1"
    monkeypatch.setattr(requested, "KEPT_S", 60.0)
    now = time.monotonic()
    monkeypatch.setattr(requested.time, "monotonic", lambda: now + 61)
    served.loaded(1)
    served.loaded(3)
    assert served.get(2).version == 2, "nobody has used the others for a minute"
    served.get(3)
    with pytest.raises(Overloaded):
        served.get(1)
    with pytest.raises(ModelNotFound):
        served.get(77)  # even if there is no room


def test_what_the_settings_no_longer_allow_no_longer_answers(store: ModelStore) -> None:
    served = opened(store, kept=2, versions=[1, 4])
    served.load()
    assert served.get(1).version == 1
    served.settings = ServedModel(versions=[4])
    with pytest.raises(ModelNotFound):
        served.get(1)
    assert served.loaded(1) is None
    served.refresh()
    assert loaded(served) == [4], "its process has ended, too"
    latest = opened(store, kept=2)
    latest.load()
    latest.get(1)
    latest.settings = ServedModel(versions=[4])
    latest.refresh()
    assert loaded(latest) == [4]
