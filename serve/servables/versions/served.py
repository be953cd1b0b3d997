"""The versions of one model."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from millrace.config.sections.serve import ServedModel
from millrace.errors import ArtifactNotFound, ConfigError, MillraceError, StorageError, Unavailable
from millrace.models.store import ModelStore
from serve.errors import STORE_UNAVAILABLE, ModelNotFound, ModelNotReady, UnknownLabel
from serve.servables.loader import Loader
from serve.servables.servable import Servable
from serve.servables.versions.failures import Failures
from serve.servables.versions.requested import RequestedVersions
from serve.servables.versions.status import Outcome, VersionStatus

logger = logging.getLogger(__name__)

NOT_YET: Final = "it is not loaded yet"


class ServedVersions:
    """The versions of one model.

    Args:
        name: The model.
        settings: Which versions are served, and how.
        store: Holds the versions.
        loader: Loads them.
        kept: Number of versions requested by number that stay loaded, beside those that the settings name.
        is_awaited: Whether the server is ready only when a version of this model is loaded.
    """

    def __init__(
        self,
        name: str,
        settings: ServedModel,
        store: ModelStore,
        loader: Loader,
        kept: int,
        *,
        is_awaited: bool = True,
    ) -> None:
        self.name = name
        self.settings = settings
        self.is_awaited = is_awaited
        self.is_unloaded = False
        self._store = store
        self._loader = loader
        # Replaced as one reference, so that readers need no lock.
        self._current: Servable | None = None
        self._others = RequestedVersions(name, kept)
        self._failures = Failures()
        self._problem = NOT_YET
        """Why no version is loaded, if that is not the failure of a version."""
        self._missing: set[int] = set()
        """Versions that the settings name and that are not in the store; logged once."""
        self._loading: int | None = None
        self._lock = threading.RLock()

    @property
    def is_ready(self) -> bool:
        """Whether a version is loaded, or a client has unloaded the model."""
        return self._current is not None or self.is_unloaded

    @property
    def problem(self) -> str:
        """Why no version answers; empty if one does."""
        if self._current is not None:
            return ""
        if self.is_unloaded:
            return "unloaded"
        failure = self._failures.newest()
        return str(failure[1]) if failure else self._problem

    @property
    def failed(self) -> list[int]:
        """The versions that cannot be loaded."""
        return self._failures.versions

    def load(self) -> None:
        """Load the newest version that can be loaded, and the others that the settings name.

        Raises:
            ArtifactNotFound: The store has no version that the settings allow.
            MillraceError: No version can be loaded; this is the newest version's error.
        """
        with self._lock:
            self.is_unloaded = False
            self.refresh()
            if self._current is None:
                if failure := self._failures.newest():
                    raise failure[1].with_traceback(None)  # else each raise of this object makes its traceback longer
                hint = "run: millrace train FILE, or millrace run FILE"
                raise ArtifactNotFound(kind="model", name=self.name, hint=hint)

    def load_newest(self) -> None:
        """Load the newest version now, even if it failed a moment ago; the one before answers if it cannot be loaded.

        Raises:
            ArtifactNotFound: The store has no version that the settings allow.
            MillraceError: The newest version cannot be loaded.
        """
        with self._lock:
            self._failures.clear()
            self.load()
            answering = self._current.version if self._current else 0
            if newer := self._failures.newest(above=answering):
                raise ModelNotReady(self.name, newer[0], f"{newer[1]}; version {answering} still answers")

    def unload(self) -> None:
        """Unload every version until the next `load`. Running requests are still answered."""
        with self._lock:
            self.is_unloaded = True
            self._current = None
            self._others.clear()

    def refresh(self, sizes: Sequence[int] = ()) -> Outcome | None:
        """See `ServableManager.refresh`."""
        outcome: Outcome | None = None
        with self._lock:
            if self.is_unloaded:
                return None
            available = self._versions()
            for version in self._candidates(available):
                if self._failures.is_recent(version):
                    continue
                try:
                    self._promote(self._find(version) or self._load(version, sizes), available)
                except (ModelNotReady, ModelNotFound):
                    outcome = "refused"
                    continue
                except (Unavailable, ConfigError):
                    continue  # noted as the reason of this version; the next check tries it again
                outcome = "loaded"
                break
            self._load_pinned(available)
        return outcome

    def loaded(self, version: int | None = None) -> Servable | None:
        """The version, by default the current one, if it is loaded and the settings allow it; never waits."""
        return self._loaded(version, self._others.find)

    def use(self, version: int | None = None) -> Servable | None:
        """The same for a request, which counts: a version that is in use stays loaded."""
        return self._loaded(version, self._others.use)

    def _loaded(self, version: int | None, find: Callable[[int], Servable | None]) -> Servable | None:
        current = self._current
        if version is None:
            return current
        if not self._allows(version):  # the settings may have changed since it was loaded
            return None
        return current if current and current.version == version else find(version)

    def all_loaded(self) -> list[Servable]:
        """Every loaded version, the current one first."""
        return [*([self._current] if self._current else []), *self._others.all()]

    def version_of(self, label: str) -> int:
        """See `ServableManager.version_of`."""
        if label not in self.settings.labels:
            raise UnknownLabel(label)
        return self.settings.labels[label]

    def get(self, version: int | None = None) -> Servable:
        """See `ServableManager.get`."""
        found = self.use(version)
        if found:
            return found
        if self.is_unloaded or (version is not None and not self._allows(version)):
            raise ModelNotFound(self.name, version)
        if version is None:
            raise ModelNotReady(self.name, None, self.problem)
        with self._lock:
            found = self.use(version)
            if found:
                return found
            if not self._is_loadable(version):
                raise ModelNotFound(self.name, version)
            self._others.check_room()
            servable = self._load(version)
            self._others.add_requested(servable)
            return servable

    def status(self, version: int | None = None) -> list[VersionStatus]:
        """See `ServableManager.status`."""
        known = {servable.version for servable in self.all_loaded()}
        try:
            known |= set(filter(self._allows, self._store.versions(self.name)))
        except (Unavailable, ConfigError) as error:
            logger.warning("the model store cannot be read: %s", error)  # the loaded versions are known without it
            known |= set(self._failures.versions)
        if version is not None and version not in known:
            raise ModelNotFound(self.name, version)
        return [self._status(number) for number in sorted(known, reverse=True) if version in (None, number)]

    def _find(self, version: int) -> Servable | None:
        return next((servable for servable in self.all_loaded() if servable.version == version), None)

    def _status(self, version: int) -> VersionStatus:
        if self._find(version):
            return VersionStatus(version, "AVAILABLE")
        if self._loading == version:
            return VersionStatus(version, "LOADING")
        if failed := self._failures.find(version):
            return VersionStatus(version, "END", str(failed))
        return VersionStatus(version, "END", "unloaded") if self.is_unloaded else VersionStatus(version, "START")

    def _versions(self) -> list[int]:
        """The versions in the store; failures of versions that are gone are forgotten."""
        try:
            available = self._store.versions(self.name)
        except MillraceError:
            self._problem = STORE_UNAVAILABLE
            raise
        self._failures.keep(available)
        self._problem = NOT_YET if any(map(self._allows, available)) else self._store.why_no_version(self.name)
        return available

    def _allows(self, version: int) -> bool:
        """Whether the settings allow a version."""
        listed = self.settings.versions
        return isinstance(listed, str) or version in (*listed, *self.settings.labels.values())

    def _is_loadable(self, version: int) -> bool:
        return not self.is_unloaded and self._allows(version) and version in self._store.versions(self.name)

    def _pinned(self, available: Sequence[int]) -> set[int]:
        """The versions that stay loaded."""
        numbers = sorted(filter(self._allows, available))
        if self.settings.versions == "latest":
            numbers = numbers[-self.settings.latest_count :]
        return {*numbers, *self.settings.labels.values()}

    def _candidates(self, available: Sequence[int]) -> list[int]:
        """The versions that should replace the current one, the best first."""
        running = self._current.version if self._current else 0
        allowed = sorted(filter(self._allows, available), reverse=True)
        return [version for version in allowed if version > running or not self._allows(running)]

    def _promote(self, servable: Servable, available: Sequence[int]) -> None:
        """Replace the current version, which stays loaded if the settings name it."""
        old, self._current = self._current, servable
        self._others.remove(servable.version)
        if old and old.version in self._pinned(available):
            self._others.add(old)

    def _load_pinned(self, available: Sequence[int]) -> None:
        """Load the missing versions that the settings name; log those that fail."""
        named = self._pinned(available)
        self._others.keep(named)
        self._others.remove_unless(self._allows)
        missing = {number for number in named - set(available) if not self._find(number)}
        for version in sorted(named - missing):
            if self._find(version) or self._failures.is_recent(version):
                continue
            try:
                self._others.add(self._load(version))
            except MillraceError as error:
                logger.error("model %s version %d%s is not served: %s", self.name, version, self._label(version), error)
        for version in sorted(missing - self._missing):
            logger.error("model %s version %d%s is not in the store", self.name, version, self._label(version))
        self._missing = missing
        self._others.evict()

    def _note(self, version: int, error: MillraceError, *, is_final: bool = True) -> None:
        is_new = self._failures.add(version, error, is_final=is_final)
        logger.log(logging.ERROR if is_new else logging.DEBUG, "refused: %s", error)

    def _label(self, version: int) -> str:
        label = next((label for label, number in self.settings.labels.items() if number == version), None)
        return f", which the label {label} names," if label else ""

    def _load(self, version: int, sizes: Sequence[int] = ()) -> Servable:
        if self._failures.is_recent(version):
            raise ModelNotReady(self.name, version, str(self._failures.find(version)))
        self._loading = version
        started = time.monotonic()
        try:
            servable = self._loader.load(self.name, version, self.settings, sizes)
        except ArtifactNotFound as error:
            raise ModelNotFound(self.name, version) from error
        except OSError as error:
            failure = StorageError(f"cannot store model {self.name} version {version} on this machine: {error}")
            self._note(version, failure, is_final=False)
            raise failure from error
        except (Unavailable, ConfigError) as error:
            self._note(version, error, is_final=False)
            raise
        except MillraceError as error:
            self._note(version, error)
            raise ModelNotReady(self.name, version, str(error)) from error
        finally:
            self._loading = None
        self._failures.note_success(version)
        logger.info("loaded model %s version %d in %.1f s", self.name, version, time.monotonic() - started)
        return servable
