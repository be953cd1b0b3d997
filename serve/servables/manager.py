"""The models that are served, by name."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from millrace.config.sections.serve import ServedModel
from millrace.errors import MillraceError
from millrace.models.store import ModelStore
from serve.errors import ModelNotFound
from serve.garbage import relax_collector
from serve.servables.loader import Host, Loader, in_this_process
from serve.servables.servable import Servable
from serve.servables.versions import Outcome, ServedVersions, VersionStatus

logger = logging.getLogger(__name__)

_DEFAULTS: Final = ServedModel()


class ServableManager:
    """Loads model versions from the store and hands out the loaded ones.

    Args:
        store: Where the versions lie.
        models: The models that are served, and how; other names do not exist, whatever the store holds.
        kept_versions: How many versions beside those that the settings name stay loaded, per model.
        threads: How many threads TensorFlow may use; by default its own choice.
        host: Where models are loaded; by default in this process.
    """

    def __init__(
        self,
        store: ModelStore,
        models: Mapping[str, ServedModel],
        *,
        kept_versions: int = 2,
        threads: int | None = None,
        host: Host = in_this_process,
    ) -> None:
        self._store = store
        self._kept = kept_versions
        self._loader = Loader(store, threads=threads, host=host)
        self._models = {name: self._open(name, settings) for name, settings in models.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """The models that are served."""
        return tuple(self._models)

    @property
    def is_ready(self) -> bool:
        """Whether every model has a version that answers; one that was unloaded need not."""
        return all(model.is_ready for model in self._models.values())

    def load(self) -> None:
        """Load what the settings name of every model; a damaged version falls back to the one before.

        Raises:
            ArtifactNotFound: The store has no version of a model.
            MillraceError: None of a model's versions can be loaded; the newest one's reason.
        """
        for model in self._models.values():
            model.load()
        relax_collector()

    def refresh(self, name: str, sizes: Sequence[int] = ()) -> Outcome | None:
        """Load a version newer than the one that answers, if the store has one, and let it answer instead.

        Requests that the old one is answering keep it until they are done. One that cannot be loaded is refused and
        tried again after a while; the old one goes on. Other versions that the settings name are loaded, too.

        Args:
            name: The model.
            sizes: Of the batches in use, in rows: the newer version answers such before anybody else asks it.

        Returns:
            What became of the newer version; None if there is none, or it was refused a moment ago.

        Raises:
            StorageError: The store cannot be read.
        """
        return self._model(name).refresh(sizes)

    def configure(self, models: Mapping[str, ServedModel]) -> None:
        """Serve other models, or the same in another way, from now on.

        What the settings of a model name is loaded by its next `refresh`. A new model is served once it is loaded: if
        it cannot be, that is told, and the next call tries it again.
        """
        for name in self._models.keys() - models.keys():
            logger.info("model %s is served no more", name)
        kept = {name: self._models[name] for name in models if name in self._models}
        for name, model in kept.items():
            model.settings = models[name]
        self._models = kept
        for name in models.keys() - kept.keys():
            added = self._open(name, models[name])
            try:
                added.load()
            except MillraceError as error:
                logger.error("model %s is not served yet: %s", name, error)
                continue
            self._models = {**self._models, name: added}

    def load_model(self, name: str) -> None:
        """Serve a model again that was unloaded, or look for its newer versions.

        Raises:
            ModelNotFound: No such model is served.
            MillraceError: None of its versions can be loaded.
        """
        model = self._model(name)
        if model.is_unloaded:
            model.load()
        else:
            self.refresh(name)

    def unload_model(self, name: str) -> None:
        """Let go of a model; requests in flight are still answered.

        Raises:
            ModelNotFound: No such model is served.
        """
        self._model(name).unload()

    def close(self) -> None:
        """Let go of every model at the end of the server."""
        for name in self.names:
            for servable in self.all_loaded(name):
                servable.close()

    def loaded(self, name: str, version: int | None = None) -> Servable | None:
        """The servable, if it is loaded; never waits.

        Raises:
            ModelNotFound: No such model is served.
        """
        return self._model(name).loaded(version)

    def all_loaded(self, name: str) -> list[Servable]:
        """Every version of a model that is loaded.

        Raises:
            ModelNotFound: No such model is served.
        """
        return self._model(name).all_loaded()

    def settings(self, name: str) -> ServedModel:
        """How a model is served now; of one that is served no more the defaults, for requests that it still answers."""
        model = self._models.get(name)
        return model.settings if model else _DEFAULTS

    def version_of(self, name: str, label: str) -> int:
        """The version that a label names.

        Raises:
            ModelNotFound: No such model is served.
            UnknownLabel: It has no such label.
        """
        return self._model(name).version_of(label)

    def get(self, name: str, version: int | None = None) -> Servable:
        """The servable, loaded now if need be; of many callers at once one loads, the others wait.

        Raises:
            ModelNotFound: No such model is served, or no such version is in the store or allowed by the settings.
            ModelNotReady: The version cannot be loaded.
        """
        return self._model(name).get(version)

    def status(self, name: str, version: int | None = None) -> list[VersionStatus]:
        """How the versions of a model stand, newest first.

        Raises:
            ModelNotFound: No such model is served, or no such version is in the store.
        """
        return self._model(name).status(version)

    def _model(self, name: str) -> ServedVersions:
        models = self._models  # which may be replaced meanwhile
        if name not in models:
            raise ModelNotFound(name, hint=f"served here: {', '.join(models)}")
        return models[name]

    def _open(self, name: str, settings: ServedModel) -> ServedVersions:
        return ServedVersions(name, settings, self._store, self._loader, self._kept)
