"""Loads a version from the store: one of ours, or one that another system wrote."""

from collections.abc import Callable, Sequence
from functools import partial

from millrace.config.sections.serve import ServedModel
from millrace.models.manifest import MANIFEST
from millrace.models.store import ModelStore
from serve.servables.domains import read_domains
from serve.servables.foreign import foreign_copy
from serve.servables.saved_model import WARM_UP_ROWS, LoadedModel
from serve.servables.servable import Servable

Load = Callable[[], Servable]
Host = Callable[[str, Load], Servable]
"""Loads what it is told, named by the first argument, in a place of its choice."""


def in_this_process(_: str, load: Load) -> Servable:
    """The simplest host."""
    return load()


class Loader:
    """Loads versions.

    Args:
        store: Where they lie.
        threads: How many threads TensorFlow may use; by default its own choice.
        host: Where they are loaded.
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
            settings: Say whether it may be one that another system wrote.
            sizes: Of the batches to warm up by, in rows, beside those that every version is.

        Raises:
            ArtifactNotFound: The store has no such version.
            ModelDamaged: It is not what was published, or TensorFlow cannot load it.
            StorageError: The store cannot be read.
        """
        place = f"{name}/{version}"
        if self._store.store.exists("models", name, str(version), MANIFEST) or not settings.allow_foreign:
            opened, warm_up = self._store.open(name, version), (*WARM_UP_ROWS, *sizes)
            servable = self._host(place, partial(LoadedModel.load, opened, self._threads, warm_up))
            servable.domains = read_domains(servable.origin.folder, servable.spec)
            return servable
        with foreign_copy(self._store, name, version) as folder:
            joins = settings.join_requests
            return self._host(
                place, partial(LoadedModel.load_foreign, name, version, folder, self._threads, joins=joins)
            )
