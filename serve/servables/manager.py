"""The models that are served, by name."""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final

from millrace.config.sections.serve import ServedModel
from millrace.errors import ConfigError, MillraceError
from millrace.models.store import ModelStore
from serve.errors import ModelNotFound
from serve.garbage import relax_collector
from serve.servables.loader import Host, Loader, in_this_process
from serve.servables.servable import Servable
from serve.servables.versions.served import ServedVersions
from serve.servables.versions.status import Outcome, VersionStatus

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
        loaders: Models that are loaded at the same time; more than one only if `host` starts processes.
    """

    def __init__(
        self,
        store: ModelStore,
        models: Mapping[str, ServedModel],
        *,
        kept_versions: int = 2,
        threads: int | None = None,
        host: Host = in_this_process,
        loaders: int = 1,
    ) -> None:
        self._store = store
        self._kept = kept_versions
        self._loader = Loader(store, threads=threads, host=host)
        self._threads = ThreadPoolExecutor(loaders, thread_name_prefix="load-models")
        self._running: dict[str, Future[Outcome | None]] = {}
        """The refreshes that have not ended, by model."""
        self._models = {name: self._open(name, settings) for name, settings in models.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """The models that are served."""
        return tuple(self._models)

    @property
    def problems(self) -> dict[str, str]:
        """Why a model has no loaded version, by model; without those that have one, or that a client has unloaded."""
        return {model.name: model.problem for model in self._models.values() if not model.is_ready}

    @property
    def failed(self) -> list[tuple[str, int]]:
        """The models and versions that cannot be loaded."""
        return [(model.name, version) for model in self._models.values() for version in model.failed]

    @property
    def is_ready(self) -> bool:
        """Whether every model has a loaded version or was unloaded by a client.

        A model that the settings named only after the start does not count before its first version is loaded: a
        mistake in a changed configuration must not take a running server out of service.
        """
        return all(model.is_ready or not model.is_awaited for model in self._models.values())

    @property
    def is_any_ready(self) -> bool:
        """Whether a model has a loaded version or was unloaded by a client."""
        return any(model.is_ready for model in self._models.values())

    def load(self) -> None:
        """Load the versions that the settings name. If the newest is damaged, the one before it answers.

        A model without a version, or whose versions cannot be loaded, does not prevent others from being served.
        `refresh` tries it again.

        Raises:
            ConfigError: The model store cannot be used for any model: no permission, for example.
        """
        unusable: list[ConfigError] = []
        loading = {model.name: self._threads.submit(model.load) for model in self._models.values()}
        for name, loaded in loading.items():
            try:
                loaded.result()
            except MillraceError as error:
                logger.debug("model %s was not loaded: %s", name, error)
                unusable += [error] if isinstance(error, ConfigError) else []
        relax_collector()
        if unusable and len(unusable) == len(self._models):
            raise unusable[0]

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

    def refresh_all(self, sizes_of: Callable[[str], Sequence[int]], wait_s: float) -> dict[str, Future[Outcome | None]]:
        """Refresh every model; a model that takes longer than `wait_s` continues, and delays no other.

        Args:
            sizes_of: Returns the batch sizes in use of a model.
            wait_s: How long to wait, in seconds.

        Returns:
            The refreshes that have ended, by model; see `refresh` for their results.
        """
        for name in self.names:
            if name not in self._running:
                self._running[name] = self._threads.submit(self.refresh, name, sizes_of(name))
        wait(self._running.values(), wait_s)
        ended = {name: future for name, future in self._running.items() if future.done()}
        for name in ended:
            del self._running[name]
        return ended

    def configure(self, models: Mapping[str, ServedModel]) -> None:
        """Change the served models and their settings.

        The next `refresh` of a model loads the versions that its settings name.
        """
        for name in self._models.keys() - models.keys():
            logger.info("model %s is not served any more", name)
        kept = {name: self._models[name] for name in models if name in self._models}
        for name, model in kept.items():
            model.settings = models[name]
        new = {name: self._open(name, models[name], is_awaited=False) for name in models if name not in kept}
        self._models = {**kept, **new}

    def load_model(self, name: str) -> None:
        """Load a model that was unloaded, or its newest version, even if that failed a moment ago.

        Raises:
            ModelNotFound: No such model is served.
            MillraceError: The newest version cannot be loaded; the one before continues to answer.
        """
        self._model(name).load_newest()

    def unload_model(self, name: str) -> None:
        """Unload a model. Running requests are still answered.

        Raises:
            ModelNotFound: No such model is served.
        """
        self._model(name).unload()

    def loaded(self, name: str, version: int | None = None) -> Servable | None:
        """The version, by default the current one, if it is loaded; never waits.

        Raises:
            ModelNotFound: No such model is served.
        """
        return self._model(name).loaded(version)

    def use(self, name: str, version: int | None = None) -> Servable | None:
        """The same for a request, which counts: a version that is in use is not unloaded for another one.

        Raises:
            ModelNotFound: No such model is served.
        """
        return self._model(name).use(version)

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

    def _open(self, name: str, settings: ServedModel, *, is_awaited: bool = True) -> ServedVersions:
        return ServedVersions(name, settings, self._store, self._loader, self._kept, is_awaited=is_awaited)
