"""Which versions are loaded, and what becomes of those that cannot be."""

import shutil
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from millrace.config.sections.serve import ServedModel
from millrace.errors import ArtifactNotFound, ConfigError, StorageError
from millrace.models.manifest import ModelDamaged, ModelManifest, ModelVersion
from millrace.models.store import ModelStore
from millrace.storage import Store
from serve.errors import ModelNotFound, ModelNotReady, Overloaded
from serve.servables.loader import Loader
from serve.servables.manager import ServableManager
from serve.servables.saved_model import LoadedModel
from serve.servables.servable import Servable
from serve.servables.versions import failures as module
from serve.servables.versions import requested
from serve.servables.versions.status import VersionStatus
from tests.serve.models import served
from tests.serve.servables.test_saved_model import rows

pytestmark = pytest.mark.tf


@pytest.fixture
def copied(model_store: ModelStore, tmp_path: Path) -> ModelStore:
    """A store of one's own with both versions of `tiny`."""
    shutil.copytree(model_store.store.uri("models", "tiny"), tmp_path / "models" / "tiny")
    return ModelStore(Store(str(tmp_path)))


def version_of(store: ModelStore, version: int) -> ModelVersion:
    """A version whose folder is hidden."""
    place = store.store.uri("models", "tiny", f".{version}")
    manifest = ModelManifest.model_validate_json(Path(place, "model.json").read_text())
    return ModelVersion(place, manifest)


def damage(store: ModelStore, version: int) -> None:
    (Path(store.store.uri("models", "tiny", str(version))) / "variables" / "variables.index").unlink()


def test_loads_the_newest(manager: ServableManager) -> None:
    assert manager.is_ready
    assert manager.get("tiny").version == 2
    assert manager.status("tiny", 2) == [VersionStatus(2, "AVAILABLE")]


def test_loads_another_version_when_it_is_asked_for(copied: ModelStore) -> None:
    manager = ServableManager(copied, served("tiny"))
    manager.load()
    assert [s.state for s in manager.status("tiny")] == ["AVAILABLE", "START"]
    assert manager.loaded("tiny", 1) is None
    assert manager.get("tiny", 1).version == 1
    assert [s.state for s in manager.status("tiny")] == ["AVAILABLE", "AVAILABLE"]
    assert [s.version for s in manager.all_loaded("tiny")] == [2, 1]


def test_keeps_a_bounded_number_of_versions(copied: ModelStore) -> None:
    manager = ServableManager(copied, served("tiny"), kept_versions=0)
    manager.load()
    manager.get("tiny", 1)
    assert [s.version for s in manager.all_loaded("tiny")] == [2]


def test_unknown_names_and_versions(manager: ServableManager, model_store: ModelStore) -> None:
    with pytest.raises(ModelNotFound):
        manager.get("other")
    with pytest.raises(ModelNotFound, match=r"Specific\(tiny, 9\)"):
        manager.get("tiny", 9)
    with pytest.raises(ModelNotFound, match=r"Specific\(tiny, 9\)"):
        manager.status("tiny", 9)
    with pytest.raises(ModelNotFound):
        ServableManager(model_store, served("tiny")).get("kinds")


def test_a_damaged_version_is_refused_and_the_one_before_serves(copied: ModelStore) -> None:
    damage(copied, 2)
    manager = ServableManager(copied, served("tiny"))
    manager.load()
    assert manager.get("tiny").version == 1
    refused = manager.status("tiny", 2)[0]
    assert (refused.state, refused.message) == ("END", "model tiny version 2: variables/variables.index is missing")
    with pytest.raises(ModelNotReady, match=r"variables\.index is missing"):
        manager.get("tiny", 2)


def test_a_refused_version_is_tried_again_only_after_a_while(
    copied: ModelStore, model_store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(copied, 1)
    manager = ServableManager(copied, served("tiny"))
    manager.load()
    with pytest.raises(ModelNotReady):
        manager.get("tiny", 1)
    shutil.copytree(
        Path(model_store.store.uri("models", "tiny", "1")),
        Path(copied.store.uri("models", "tiny", "1")),
        dirs_exist_ok=True,
    )
    with pytest.raises(ModelNotReady):
        manager.get("tiny", 1)
    monkeypatch.setattr(module, "RETRY_AFTER_S", 0)
    assert manager.get("tiny", 1).version == 1
    assert manager.status("tiny", 1)[0].message == ""


def test_nothing_that_can_be_loaded(copied: ModelStore) -> None:
    damage(copied, 1)
    damage(copied, 2)
    manager = ServableManager(copied, served("tiny"))
    manager.load()
    assert not manager.is_ready
    assert manager.problems == {"tiny": "model tiny version 2: variables/variables.index is missing"}
    assert manager.failed == [("tiny", 1), ("tiny", 2)]
    with pytest.raises(ModelNotReady, match=r"variables\.index is missing"):
        manager.get("tiny")
    manager.unload_model("tiny")
    with pytest.raises(ModelDamaged, match="version 2"):
        manager.load_model("tiny")


def test_a_store_without_a_version(store: Store, model_store: ModelStore) -> None:
    manager = ServableManager(ModelStore(store), served("tiny"))
    manager.load()
    assert (manager.is_ready, manager.is_any_ready) == (False, False)
    assert "there is no store at" in manager.problems["tiny"]
    Path(store.root).mkdir(exist_ok=True)
    assert manager.refresh("tiny") is None
    assert "no version of it yet" in manager.problems["tiny"]
    assert manager.status("tiny") == []
    with pytest.raises(ModelNotReady, match="no version of it yet"):
        manager.get("tiny")
    manager.unload_model("tiny")
    with pytest.raises(ArtifactNotFound) as caught:
        manager.load_model("tiny")
    assert caught.value.hint == "run: millrace train FILE, or millrace run FILE"
    shutil.copytree(model_store.store.uri("models", "tiny", "1"), store.uri("models", "tiny", "1"))
    assert manager.refresh("tiny") == "loaded"
    assert (manager.is_ready, manager.problems, manager.get("tiny").version) == (True, {}, 1)


@pytest.mark.case("S5")
def test_a_model_that_cannot_be_loaded_takes_no_other_down(copied: ModelStore, model_store: ModelStore) -> None:
    shutil.copytree(model_store.store.uri("models", "size"), copied.store.uri("models", "size"))
    damage(copied, 1)
    damage(copied, 2)
    manager = ServableManager(copied, served("tiny", "none", "size"))
    manager.load()
    assert manager.get("size").version == 1
    assert set(manager.problems) == {"tiny", "none"}
    assert (manager.is_ready, manager.is_any_ready) == (False, True)


def test_a_store_that_cannot_be_used_is_an_error(copied: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: str) -> list[int]:
        raise ConfigError("no permission")

    monkeypatch.setattr(copied, "versions", denied)
    with pytest.raises(ConfigError, match="no permission"):
        ServableManager(copied, served("tiny")).load()


@pytest.mark.case("B25")
def test_a_version_in_use_is_not_unloaded_for_another(copied: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(copied.store.uri("models", "tiny"))
    for number in (3, 4):
        shutil.copytree(folder / "2", folder / str(number))
        manifest = folder / str(number) / "model.json"
        manifest.write_text(manifest.read_text().replace('"version": 2', f'"version": {number}'))
    manager = ServableManager(copied, served("tiny"), kept_versions=2)
    manager.load()
    assert [manager.get("tiny", number).version for number in (4, 3, 2)] == [4, 3, 2]
    with pytest.raises(Overloaded, match="2 other versions of model 'tiny'") as caught:
        manager.get("tiny", 1)
    assert 50 < caught.value.retry_after_s <= 60
    assert "serve.models.tiny.versions" in caught.value.hint
    monkeypatch.setattr(requested, "KEPT_S", 0.0)
    assert manager.get("tiny", 1).version == 1
    assert [s.version for s in manager.all_loaded("tiny")] == [4, 2, 1]


def test_many_callers_load_a_version_once(copied: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = ServableManager(copied, served("tiny"))
    manager.load()
    calls: list[int] = []
    load = LoadedModel.load

    def counted(*arguments: object) -> Servable:
        calls.append(1)
        return load(*arguments)  # type: ignore[arg-type] # passed through

    monkeypatch.setattr(LoadedModel, "load", counted)
    found: list[Servable] = []
    threads = [threading.Thread(target=lambda: found.append(manager.get("tiny", 1))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert len(set(map(id, found))) == 1


def test_a_newer_version_takes_over_while_requests_run(copied: ModelStore) -> None:
    manager = ServableManager(copied, served("tiny"))
    Path(copied.store.uri("models", "tiny", "2")).rename(Path(copied.store.uri("models", "tiny"), ".2"))
    manager.load()
    assert manager.refresh("tiny") is None
    expected = {1: manager.get("tiny").infer(rows(2)), 2: LoadedModel.load(version_of(copied, 2)).infer(rows(2))}
    done, seen = threading.Event(), list[int]()

    def ask() -> None:
        while not done.is_set():
            servable = manager.get("tiny")
            answer = servable.infer(rows(2))["probability"]
            np.testing.assert_array_equal(answer, expected[servable.version]["probability"])
            seen.append(servable.version)

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask) for _ in range(3)]
        Path(copied.store.uri("models", "tiny", ".2")).rename(Path(copied.store.uri("models", "tiny"), "2"))
        assert manager.refresh("tiny") == "loaded"
        end = time.monotonic() + 20
        while 2 not in seen and time.monotonic() < end:
            time.sleep(0.01)
        done.set()
        for each in asking:
            each.result()
    assert set(seen) == {1, 2}
    assert [s.version for s in manager.all_loaded("tiny")] == [2]
    assert [s.state for s in manager.status("tiny")] == ["AVAILABLE", "START"]


def test_a_newer_version_that_is_damaged_is_refused(copied: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(copied.store.uri("models", "tiny"))
    (folder / "2").rename(folder / ".2")
    manager = ServableManager(copied, served("tiny"))
    manager.load()
    (folder / ".2").rename(folder / "2")
    kept = (folder / "2" / "fingerprint.pb").read_bytes()
    (folder / "2" / "fingerprint.pb").write_bytes(b"x")
    assert manager.refresh("tiny") == "refused"
    assert manager.refresh("tiny") is None
    assert manager.is_ready
    assert manager.get("tiny").version == 1
    assert "fingerprint.pb" in manager.status("tiny", 2)[0].message
    (folder / "2" / "fingerprint.pb").write_bytes(kept)
    monkeypatch.setattr(module, "RETRY_AFTER_S", 0)
    assert manager.refresh("tiny") == "loaded"
    assert manager.get("tiny").version == 2


def test_what_is_dropped_is_let_go(copied: ModelStore) -> None:
    folder = Path(copied.store.uri("models", "tiny"))
    (folder / "2").rename(folder / ".2")
    manager = ServableManager(copied, served("tiny"))
    manager.load()
    old = weakref.ref(manager.get("tiny")._functions)
    (folder / ".2").rename(folder / "2")
    assert manager.refresh("tiny") == "loaded"
    assert old() is None


def test_a_label_keeps_its_version_loaded(copied: ModelStore) -> None:
    folder = Path(copied.store.uri("models", "tiny"))
    (folder / "2").rename(folder / ".2")
    manager = ServableManager(copied, {"tiny": ServedModel(labels={"stable": 1, "gone": 9})}, kept_versions=0)
    manager.load()
    stable = manager.get("tiny")
    (folder / ".2").rename(folder / "2")
    assert manager.refresh("tiny") == "loaded"
    assert manager.loaded("tiny", manager.version_of("tiny", "stable")) is stable
    assert [s.version for s in manager.all_loaded("tiny")] == [2, 1]
    again = ServableManager(copied, {"tiny": ServedModel(labels={"stable": 1})})
    again.load()
    assert [s.version for s in again.all_loaded("tiny")] == [2, 1]


def test_of_newer_versions_the_newest_that_is_whole_takes_over(copied: ModelStore) -> None:
    folder = Path(copied.store.uri("models", "tiny"))
    (folder / "2").rename(folder / ".2")
    manager = ServableManager(copied, served("tiny"))
    manager.load()
    shutil.copytree(folder / ".2", folder / "3")  # its manifest says 2
    (folder / ".2").rename(folder / "2")
    assert manager.refresh("tiny") == "loaded"
    assert manager.get("tiny").version == 2
    assert manager.status("tiny", 3)[0].state == "END"
    assert manager.refresh("tiny") is None


def test_while_the_store_is_away_status_tells_what_is_loaded(
    copied: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = ServableManager(copied, served("tiny"))
    manager.load()

    def away(_: str) -> list[int]:
        raise StorageError("the NameNode is away")

    monkeypatch.setattr(copied, "versions", away)
    assert manager.status("tiny") == [VersionStatus(2, "AVAILABLE")]
    with pytest.raises(StorageError):
        manager.refresh("tiny")


def test_a_storage_error_is_not_held_against_a_version(copied: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = ServableManager(copied, served("tiny"))
    manager.load()

    def full(*_: object) -> Servable:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LoadedModel, "load", full)
    with pytest.raises(StorageError, match="cannot store model tiny version 1"):
        manager.get("tiny", 1)
    monkeypatch.undo()
    assert manager.get("tiny", 1).version == 1


def test_models_are_added_and_dropped_while_it_runs(model_store: ModelStore) -> None:
    manager = ServableManager(model_store, served("tiny"))
    manager.load()
    tiny = manager.get("tiny")
    manager.configure(served("tiny", "size", "missing"))
    assert (manager.names, manager.get("tiny")) == (("tiny", "size", "missing"), tiny)
    assert manager.is_ready, "a new model in a running server is not waited for"
    assert [manager.refresh("size"), manager.refresh("missing")] == ["loaded", None]
    assert manager.get("size").version == 1
    assert list(manager.problems) == ["missing"]
    manager.configure(served("size"))
    assert manager.names == ("size",)
    with pytest.raises(ModelNotFound):
        manager.get("tiny")


def test_a_model_is_unloaded_and_loaded_again(manager: ServableManager, model_store: ModelStore) -> None:
    manager = ServableManager(model_store, served("tiny", "size"))
    manager.load()
    manager.unload_model("tiny")
    assert manager.is_ready
    assert manager.all_loaded("tiny") == []
    assert {(s.state, s.message) for s in manager.status("tiny")} == {("END", "unloaded")}
    assert manager.refresh("tiny") is None
    for version in (None, 1, 2):
        with pytest.raises(ModelNotFound):
            manager.get("tiny", version)
    manager.load_model("tiny")
    assert manager.get("tiny").version == 2
    manager.load_model("tiny")
    with pytest.raises(ModelNotFound):
        manager.unload_model("nothing")


@pytest.mark.case("S5")
def test_a_load_that_a_client_asks_for_says_whether_the_newest_version_answers(copied: ModelStore) -> None:
    damage(copied, 2)
    manager = ServableManager(copied, served("tiny"))
    manager.load()
    assert manager.get("tiny").version == 1
    for _ in range(2):
        with pytest.raises(ModelNotReady, match=r"version 2 .*; version 1 still answers"):
            manager.load_model("tiny")
    damage(copied, 1)
    manager.unload_model("tiny")
    for _ in range(2):
        with pytest.raises(ModelDamaged):
            manager.load_model("tiny")
    lengths = set()
    for _ in range(3):
        with pytest.raises(ModelDamaged) as caught:
            manager._models["tiny"].load()
        lengths.add(len(caught.traceback))
    assert len(lengths) == 1, "an error that is raised again does not grow"
    assert manager.problems
    shutil.rmtree(copied.store.uri("models", "tiny"))
    with pytest.raises(ArtifactNotFound):
        manager.load_model("tiny")


@pytest.mark.case("S5")
def test_a_model_that_is_loaded_slowly_delays_no_other(
    model_store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    plain = Loader.load

    def slow(loader: Loader, name: str, *arguments: Any) -> Servable:
        if name == "kinds":
            assert goes_on.wait(60)
        return plain(loader, name, *arguments)

    monkeypatch.setattr(Loader, "load", slow)
    manager = ServableManager(model_store, served("kinds", "tiny"), loaders=2)
    loading = threading.Thread(target=manager.load)
    loading.start()
    try:
        end = time.monotonic() + 60
        while manager.loaded("tiny") is None:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert manager.loaded("kinds") is None
    finally:
        goes_on.set()
        loading.join()
    assert manager.is_ready
    goes_on.clear()
    again = ServableManager(model_store, served("kinds", "tiny"), loaders=2)
    try:
        for expected in ({"tiny"}, {"tiny"}):
            assert again.refresh_all(lambda _: (), wait_s=0.1).keys() <= expected
        wait_until = time.monotonic() + 60
        while again.loaded("tiny") is None:
            assert time.monotonic() < wait_until
            again.refresh_all(lambda _: (), wait_s=0.1)
    finally:
        goes_on.set()
    while "kinds" not in (ended := again.refresh_all(lambda _: (), wait_s=1)):
        assert time.monotonic() < wait_until + 60
    assert ended["kinds"].result() == "loaded"


@pytest.mark.case("S5")
@pytest.mark.parametrize(
    "error", [StorageError("the cache /c is full"), ConfigError("no permission for models/tiny/2"), OSError(28, "full")]
)
def test_what_is_no_fault_of_a_version_is_its_reason_and_tried_again_at_once(
    error: Exception, model_store: ModelStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    manager, plain = ServableManager(model_store, served("tiny", "kinds")), Loader.load

    def failing(loader: Loader, name: str, *arguments: Any) -> Servable:
        if name == "tiny":
            raise error
        return plain(loader, name, *arguments)

    monkeypatch.setattr(Loader, "load", failing)
    manager.load()
    assert manager.loaded("kinds")
    for _ in range(3):
        manager.refresh("tiny")
    assert "full" in manager.problems["tiny"] or "no permission" in manager.problems["tiny"]
    newest = manager.status("tiny")[0]
    assert (newest.state, newest.message) == ("END", manager.problems["tiny"])
    assert ("tiny", 2) in manager.failed
    assert caplog.text.count("refused: ") == 2, "once for each version"
    monkeypatch.setattr(Loader, "load", plain)
    assert manager.refresh("tiny") == "loaded"
    assert manager.failed == []
