"""Looking for newer versions."""

import shutil
import threading
from pathlib import Path

import pytest

from pipelines.errors import ConfigError, MillraceError, StorageError
from pipelines.models import ModelStore
from pipelines.storage import Store
from serve.manager import ServableManager
from serve.metrics import Metrics
from serve.reload import Reloader
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


def test_finds_a_version_by_itself_and_counts(older: ModelStore, model_store: ModelStore) -> None:
    manager, metrics = ServableManager(older, served("tiny")), Metrics()
    manager.load()
    reloader = Reloader(manager, metrics, 0.05)
    reloader.start()
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
    reloader.look()
    assert "goes on answering" in caplog.text
    assert b"millrace_store_reachable 0.0" in metrics.render([])
    assert manager.get("tiny").version == 1
    monkeypatch.undo()
    reloader.look()
    assert b"millrace_store_reachable 1.0" in metrics.render([])
