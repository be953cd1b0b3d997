"""Looking for newer versions."""

import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from millrace.config.sections.serve import Serve, ServedModel
from millrace.errors import ConfigError, MillraceError, StorageError
from millrace.models.store import ModelStore
from millrace.storage import Store
from serve.monitoring.metrics import Metrics
from serve.servables.manager import ServableManager
from serve.server.app import Application
from serve.server.reload import Reloader
from tests.serve.client import predict
from tests.serve.models import served

pytestmark = pytest.mark.tf


@pytest.fixture
def older(model_store: ModelStore, tmp_path: Path) -> ModelStore:
    """A store with version 1 of `tiny`."""
    shutil.copytree(model_store.store.uri("models", "tiny", "1"), tmp_path / "models" / "tiny" / "1")
    return ModelStore(Store(str(tmp_path)))


def add(store: ModelStore, model_store: ModelStore) -> None:
    staged = Path(store.store.uri("models", "tiny", ".staged"))
    shutil.copytree(model_store.store.uri("models", "tiny", "2"), staged)
    staged.rename(staged.with_name("2"))


def test_finds_a_version_by_itself_and_counts(
    older: ModelStore, model_store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, metrics = ServableManager(older, served("tiny")), Metrics()
    manager.load()
    refresh, told = manager.refresh, list[object]()
    monkeypatch.setattr(manager, "refresh", lambda name, sizes: told.append(sizes) or refresh(name, sizes))
    manager.get("tiny").statistics.batch_rows.add(3)
    reloader = Reloader(manager, metrics, 0.05)
    is_loaded = threading.Event()
    reloader.start(is_loaded.set)
    assert is_loaded.wait(60)
    try:
        add(older, model_store)
        for _ in range(400):
            if manager.get("tiny").version == 2:
                break
            threading.Event().wait(0.05)
        assert manager.get("tiny").version == 2
    finally:
        reloader.stop()
        reloader._thread.join(30)
    assert not reloader._thread.is_alive()
    assert told[0] == [4]
    assert b'millrace_reloads_total{model="tiny",outcome="loaded"} 1.0' in metrics.render([])


@pytest.mark.parametrize("error", [StorageError("the NameNode is away"), ConfigError("no permission")])
def test_what_is_loaded_goes_on_while_the_store_is_away(
    error: MillraceError, older: ModelStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    manager, metrics = ServableManager(older, served("tiny")), Metrics()
    manager.load()
    reloader = Reloader(manager, metrics, 60)

    def away(_: str) -> list[int]:
        raise error

    monkeypatch.setattr(older, "versions", away)
    reloader.check()
    assert "continue to answer" in caplog.text
    assert b"millrace_store_reachable 0.0" in metrics.render([])
    assert manager.get("tiny").version == 1
    monkeypatch.undo()
    reloader.check()
    assert b"millrace_store_reachable 1.0" in metrics.render([])


def test_a_changed_configuration_is_taken(model_store: ModelStore, caplog: pytest.LogCaptureFixture) -> None:
    manager = ServableManager(model_store, served("tiny"))
    manager.load()
    changes: list[object] = [None, ConfigError("line 3"), {**served("size"), "tiny": ServedModel(labels={"old": 1})}]

    def reread() -> Mapping[str, ServedModel] | None:
        change = changes.pop(0)
        if isinstance(change, ConfigError):
            raise change
        return change  # type: ignore[return-value] # one of them

    reloader = Reloader(manager, Metrics(), 60, reread=reread)
    for names in (("tiny",), ("tiny",), ("tiny", "size")):
        reloader.check()
        assert set(manager.names) == set(names)
    assert "has an error, the old one is still used: line 3" in caplog.text
    assert [s.version for s in manager.all_loaded("tiny")] == [2, 1]


class Watched(dict[Any, Any]):
    """Notes which threads read or change it."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[str] = set()

    def __getattribute__(self, name: str) -> Any:
        if name in ("get", "items", "values", "keys"):
            self.threads.add(threading.current_thread().name)
        return super().__getattribute__(name)


@pytest.mark.case("B23")
def test_only_the_event_loop_has_states_of_versions(model_store: ModelStore) -> None:
    manager = ServableManager(model_store, served("size"))
    manager.load()
    app = Application(manager, Serve())
    states = app.service._states = Watched()
    reloader = Reloader(manager, app.metrics, 0.01)
    reloader.start()
    end = time.monotonic() + 20
    before = manager.get("size").statistics.batch_rows.count
    while manager.get("size").statistics.batch_rows.count < before + 20 and time.monotonic() < end:
        assert predict(app, {"instances": [1.0]}, "/v1/models/size:predict").status_code == 200
    reloader.stop()
    reloader._thread.join(30)
    assert states.threads == {"MainThread"}
    assert reloader._sizes_of("size") == [1]
