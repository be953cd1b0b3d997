"""Loads a version from the store: one of Millrace, or one that another system wrote."""

from collections.abc import Callable, Sequence
from functools import partial

from millrace.config.sections.serve import ServedModel
from millrace.models.manifest import MANIFEST, ModelDamaged
from millrace.models.store import ModelStore
from serve.servables.domains import read_domains
from serve.servables.foreign import foreign_copy
from serve.servables.saved_model import WARM_UP_ROWS, LoadedModel
from serve.servables.servable import Servable

Load = Callable[[], Servable]
Host = Callable[[str, Load], Servable]
"""Calls the loading function, in this process or in another one; the first argument names the version."""


def in_this_process(_: str, load: Load) -> Servable:
    """Load in this process."""
    return load()


def not_allowed(name: str, version: int) -> ModelDamaged:
    """The error for a version that another system wrote, and that the settings do not allow."""
    setting = f"serve.models: {{{name}: {{allow_foreign: true}}}}"
    reason = f"it has no {MANIFEST}: another system wrote it; to serve it, set {setting}"
    return ModelDamaged(f"{name}/{version}", reason, hint="if Millrace trained it, publish it again")


class Loader:
    """Loads versions.

    Args:
        store: Holds the versions.
        threads: Number of threads of TensorFlow; by default its own choice.
        host: Chooses the process that loads a version.
    """

    def __init__(self, store: ModelStore, *, threads: int | None = None, host: Host = in_this_process) -> None:
        self._store = store
        self._threads = threads
        self._host = host

    def load(self, name: str, version: int, settings: ServedModel, sizes: Sequence[int] = ()) -> Servable:
        """Load a version.

        Args:
            name: The model.
            version: Its number.
            settings: Whether it may be one that another system wrote.
            sizes: Further batch sizes for the warm-up, in rows.

        Raises:
            ArtifactNotFound: The store has no such version.
            ModelDamaged: Its files are not those published, or TensorFlow cannot load it.
            StorageError: The store cannot be read.
        """
        label = f"{name}/{version}"
        if not settings.allow_foreign and self._store.is_foreign(name, version):
            raise not_allowed(name, version)
        if not settings.allow_foreign or self._store.store.exists("models", name, str(version), MANIFEST):
            opened, warm_up = self._store.open(name, version), (*WARM_UP_ROWS, *sizes)
            servable = self._host(label, partial(LoadedModel.load, opened, self._threads, warm_up))
            servable.domains = read_domains(servable.origin.folder, servable.spec)
            return servable
        with foreign_copy(self._store, name, version) as copy:
            joins = settings.join_requests
            servable = self._host(
                label, partial(LoadedModel.load_foreign, name, version, copy.folder, self._threads, joins=joins)
            )
            copy.keep_for(servable)
            return servable
