"""Models and applications for the tests of serving; TensorFlow loads each model once."""

from pathlib import Path

import pytest

from millrace.config.sections.serve import Serve
from millrace.models.manifest import ModelVersion
from millrace.models.store import ModelStore
from millrace.storage import Store
from serve.servables.manager import ServableManager
from serve.servables.servable import Servable
from serve.server.app import Application
from tests.serve import models
from tests.serve.foreign import write_foreign, write_uneven


@pytest.fixture(scope="session")
def model_store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    """A store with `tiny` (binary, two versions), `kinds` (multiclass), `size` (one input); read only."""
    store = ModelStore(Store(str(tmp_path_factory.mktemp("models"))))
    models.publish(store, "tiny", "binary", bias=-0.5)
    models.publish(store, "tiny", "binary")
    models.publish(store, "kinds", "multiclass")
    models.publish(store, "size", "regression", models.INPUTS[:1])
    return store


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a SavedModel that has no manifest; read only."""
    folder = tmp_path_factory.mktemp("foreign") / "1"
    write_foreign(folder)
    return folder


@pytest.fixture(scope="session")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a SavedModel whose outputs have other rows than its inputs; read only."""
    folder = tmp_path_factory.mktemp("uneven") / "1"
    write_uneven(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_version(model_store: ModelStore) -> ModelVersion:
    """The newest version of `tiny`."""
    return model_store.open("tiny")


@pytest.fixture(scope="session")
def tiny(manager: ServableManager) -> Servable:
    """`tiny`, loaded."""
    return manager.get("tiny")


@pytest.fixture(scope="session")
def manager(model_store: ModelStore) -> ServableManager:
    """All models, loaded."""
    manager = ServableManager(model_store, models.served("tiny", "kinds", "size"))
    manager.load()
    return manager


@pytest.fixture(scope="session")
def app(manager: ServableManager) -> Application:
    """An application over all models, that takes bodies of at most a mebibyte."""
    return Application(manager, Serve(max_body_mb=1))
