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
    """Loads model versions from the store, and returns the loaded ones.

    Args:
        store: Holds the versions.
        models: The served models and their settings. Other models of the store are not served.
        kept_versions: Versions per model that stay loaded beside those that the settings name.
        threads: Number of threads of TensorFlow; by default its own choice.
        host: Chooses the process that loads a version; by default this one.
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
        """Whether every model has a loaded version or was unloaded by a client."""
        return all(model.is_ready for model in self._models.values())

    def load(self) -> None:
        """Load the versions that the settings name. If the newest is damaged, the one before it answers.

        Raises:
            ArtifactNotFound: The store has no version of a model.
            MillraceError: No version of a model can be loaded; this is the newest version's error.
        """
        for model in self._models.values():
            model.load()
        relax_collector()

    def refresh(self, name: str, sizes: Sequence[int] = ()) -> Outcome | None:
        """Load a newer version, if the store has one, and replace the current one with it.

        Running requests finish on the old version. A version that cannot be loaded is refused and tried again later;
        the old one continues to answer. Other versions that the settings name are loaded, too.

        Args:
            name: The model.
            sizes: Batch sizes in use, in rows, for the warm-up of the newer version.

        Returns:
            Whether the newer version was loaded or refused; None if there is none, or it was refused a moment ago.

        Raises:
            StorageError: The store cannot be read.
        """
        return self._model(name).refresh(sizes)

    def configure(self, models: Mapping[str, ServedModel]) -> None:
        """Change the served models and their settings.

        The next `refresh` of a model loads the versions that its settings name. A new model is loaded now; if that
        fails, the error is logged and the next call tries again.
        """
        for name in self._models.keys() - models.keys():
            logger.info("model %s is not served any more", name)
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
        """Load a model that was unloaded, or its newer versions.

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
        """Unload a model. Running requests are still answered.

        Raises:
            ModelNotFound: No such model is served.
        """
        self._model(name).unload()

    def close(self) -> None:
        """Close every model at the end of the server."""
        for name in self.names:
            for servable in self.all_loaded(name):
                servable.close()

    def loaded(self, name: str, version: int | None = None) -> Servable | None:
        """The version, by default the current one, if it is loaded; never waits.

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
        """The current settings of a model; defaults if it is not served any more, for its running requests."""
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
        """The version, by default the current one; loaded now if necessary. Of several callers only one loads it.

        Raises:
            ModelNotFound: No such model is served, or no such version is in the store or allowed by the settings.
            ModelNotReady: The version cannot be loaded.
        """
        return self._model(name).get(version)

    def status(self, name: str, version: int | None = None) -> list[VersionStatus]:
        """The status of the versions of a model, newest first.

        Raises:
            ModelNotFound: No such model is served, or no such version is in the store.
        """
        return self._model(name).status(version)

    def _model(self, name: str) -> ServedVersions:
        models = self._models  # one reference: another thread may replace it
        if name not in models:
            raise ModelNotFound(name, hint=f"served here: {', '.join(models)}")
        return models[name]

    def _open(self, name: str, settings: ServedModel) -> ServedVersions:
        return ServedVersions(name, settings, self._store, self._loader, self._kept)
