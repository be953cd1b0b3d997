"""Which model versions are loaded: the newest of each model, and a few others that were asked for."""

import contextlib
import gc
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from pipelines.config.profile import ServedModel
from pipelines.errors import ArtifactNotFound, ConfigError, MillraceError, StorageError
from pipelines.models import MANIFEST, ModelStore
from serve.errors import ModelNotFound, ModelNotReady, UnknownLabel
from serve.foreign import foreign_copy
from serve.servable import Servable

logger = logging.getLogger(__name__)

RETRY_AFTER_S: Final = 60.0
"""A version that could not be loaded is not tried again before this."""

State = Literal["START", "LOADING", "AVAILABLE", "END"]


@dataclass(frozen=True)
class VersionStatus:
    """How one version stands.

    Attributes:
        version: Its number.
        state: In TF Serving's words: START is in the store and not loaded, END cannot be loaded.
        message: Why it cannot be loaded; else empty.
    """

    version: int
    state: State
    message: str = ""


@dataclass
class _Model:
    """What is loaded of one name. `current` is swapped as one reference, so readers need no lock."""

    name: str
    settings: ServedModel
    current: Servable | None = None
    others: OrderedDict[int, Servable] = field(default_factory=OrderedDict)
    failures: dict[int, tuple[float, MillraceError]] = field(default_factory=dict)
    loading: int | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    def is_refused(self, version: int) -> bool:
        """Whether a version could not be loaded a moment ago."""
        return version in self.failures and time.monotonic() - self.failures[version][0] < RETRY_AFTER_S


class ServableManager:
    """Loads model versions from the store and hands out the loaded ones.

    Args:
        store: Where the versions lie.
        models: The models that are served, and how; other names do not exist, whatever the store holds.
        kept_versions: How many versions beside the newest stay loaded, per model.
        threads: How many threads TensorFlow may use; by default its own choice.
    """

    def __init__(
        self,
        store: ModelStore,
        models: Mapping[str, ServedModel],
        *,
        kept_versions: int = 2,
        threads: int | None = None,
    ) -> None:
        self._store = store
        self._models = {name: _Model(name, settings) for name, settings in models.items()}
        self._kept = kept_versions
        self._threads = threads

    @property
    def names(self) -> tuple[str, ...]:
        """The models that are served."""
        return tuple(self._models)

    @property
    def is_ready(self) -> bool:
        """Whether every model has a version that answers."""
        return all(model.current for model in self._models.values())

    def load(self) -> None:
        """Load the newest version of every model that can be loaded; a damaged one falls back to the one before.

        Raises:
            ArtifactNotFound: The store has no version of a model.
            MillraceError: None of a model's versions can be loaded; the newest one's reason.
        """
        for model in self._models.values():
            with model.lock:
                model.current = self._load_newest(model)
            for label, version in model.settings.labels.items():
                try:
                    self.get(model.name, version)
                except MillraceError as error:
                    logger.error("the label %s of model %s names nothing that answers: %s", label, model.name, error)
        _settle()

    def refresh(self, name: str) -> Literal["loaded", "refused"] | None:
        """Load a version newer than the one that answers, if the store has one, and let it answer instead.

        Requests that the old one is answering keep it until they are done. One that cannot be loaded is refused and
        tried again after a while; the old one goes on.

        Returns:
            What became of the newer version; None if there is none, or it was refused a moment ago.

        Raises:
            StorageError: The store cannot be read.
        """
        model = self._model(name)
        outcome: Literal["loaded", "refused"] | None = None
        with model.lock:
            running = model.current.version if model.current else 0
            newer = [version for version in reversed(self._store.versions(name)) if version > running]
            for version in newer:
                if model.is_refused(version):
                    continue
                try:
                    known = version in model.others
                    self._promote(model, model.others.pop(version) if known else self._load_version(model, version))
                except (ModelNotReady, ModelNotFound):
                    outcome = "refused"
                    continue
                outcome = "loaded"
                break
        if outcome == "loaded":
            _settle()
        return outcome

    def _promote(self, model: _Model, servable: Servable) -> None:
        """Let a version answer instead of the current one, which stays loaded if a label names it."""
        old, model.current = model.current, servable
        if old and old.version in model.settings.labels.values():
            model.others[old.version] = old

    def loaded(self, name: str, version: int | None = None) -> Servable | None:
        """The servable, if it is loaded; never waits.

        Raises:
            ModelNotFound: No such model is served.
        """
        model = self._model(name)
        current = model.current
        if current and version in (None, current.version):
            return current
        found = model.others.get(version) if version is not None else None
        if found:
            with contextlib.suppress(KeyError):  # evicted by another thread this moment
                model.others.move_to_end(found.version)
        return found

    def all_loaded(self, name: str) -> list[Servable]:
        """Every version of a model that is loaded."""
        model = self._model(name)
        return [*([model.current] if model.current else []), *list(model.others.values())]

    def version_of(self, name: str, label: str) -> int:
        """The version that a label names.

        Raises:
            ModelNotFound: No such model is served.
            UnknownLabel: It has no such label.
        """
        labels = self._model(name).settings.labels
        if label not in labels:
            raise UnknownLabel(label)
        return labels[label]

    def get(self, name: str, version: int | None = None) -> Servable:
        """The servable, loaded now if need be; of many callers at once one loads, the others wait.

        Raises:
            ModelNotFound: No such model is served, or no such version is in the store.
            ModelNotReady: The version cannot be loaded.
        """
        found = self.loaded(name, version)
        if found:
            return found
        model = self._model(name)
        with model.lock:
            found = self.loaded(name, version)
            if found:
                return found
            if version is None:
                raise ModelNotReady(name, None, "no version of it is loaded")
            servable = self._load_version(model, version)
            model.others[version] = servable
            labelled = set(model.settings.labels.values())
            evictable = [number for number in model.others if number not in labelled]
            for number in evictable[: max(0, len(evictable) - self._kept)]:
                del model.others[number]
            return servable

    def status(self, name: str, version: int | None = None) -> list[VersionStatus]:
        """How the versions of a model stand, newest first.

        Raises:
            ModelNotFound: No such model is served, or no such version is in the store.
        """
        model = self._model(name)
        known = {servable.version for servable in self.all_loaded(name)}
        try:
            known |= set(self._store.versions(name))
        except (StorageError, ConfigError) as error:
            logger.warning("the model store cannot be read: %s", error)  # what is loaded is known without it
            known |= model.failures.keys()
        if version is not None and version not in known:
            raise ModelNotFound(name, version)
        return [self._status(model, n) for n in sorted(known, reverse=True) if version in (None, n)]

    def _model(self, name: str) -> _Model:
        if name not in self._models:
            raise ModelNotFound(name, hint=f"served here: {', '.join(self._models)}")
        return self._models[name]

    def _status(self, model: _Model, version: int) -> VersionStatus:
        if self.loaded(model.name, version):
            return VersionStatus(version, "AVAILABLE")
        if model.loading == version:
            return VersionStatus(version, "LOADING")
        if version in model.failures:
            return VersionStatus(version, "END", str(model.failures[version][1]))
        return VersionStatus(version, "START")

    def _load_newest(self, model: _Model) -> Servable:
        versions = self._store.versions(model.name)
        failures: list[MillraceError] = []
        for version in reversed(versions):
            try:
                return self._load_version(model, version)
            except ModelNotReady:
                failures.append(model.failures[version][1])
        if failures:
            raise failures[0]
        raise ArtifactNotFound(kind="model", name=model.name, hint="run: millrace train, or millrace run")

    def _load_version(self, model: _Model, version: int) -> Servable:
        if model.is_refused(version):
            raise ModelNotReady(model.name, version, str(model.failures[version][1]))
        model.loading = version
        started = time.monotonic()
        try:
            servable = self._open(model, version)
        except ArtifactNotFound as error:
            raise ModelNotFound(model.name, version) from error
        except (StorageError, ConfigError):
            raise  # it says nothing of the version, which may be asked for again at once
        except OSError as error:
            raise StorageError(f"this machine cannot keep model {model.name} version {version}: {error}") from error
        except MillraceError as error:
            model.failures[version] = (time.monotonic(), error)
            logger.error("refused: %s", error)
            raise ModelNotReady(model.name, version, str(error)) from error
        finally:
            model.loading = None
        model.failures.pop(version, None)
        seconds = time.monotonic() - started
        logger.info("loaded model %s version %d in %.1f s", model.name, version, seconds)
        return servable

    def _open(self, model: _Model, version: int) -> Servable:
        is_ours = self._store.store.exists("models", model.name, str(version), MANIFEST)
        if is_ours or not model.settings.allow_foreign:
            return Servable.load(self._store.open(model.name, version), self._threads)
        with foreign_copy(self._store, model.name, version) as folder:
            joins = model.settings.join_requests
            return Servable.load_foreign(model.name, version, folder, self._threads, joins=joins)


def _settle() -> None:
    """Take what is loaded out of the collector's sight: it stays, and costs no pauses while requests run."""
    gc.unfreeze()  # else the cycles of a version that was dropped stay for ever
    gc.collect()
    gc.freeze()
