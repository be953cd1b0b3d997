"""Model versions that another system wrote into the store: TensorFlow Serving's layout, without a ``model.json``."""

import contextlib
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from millrace.models.cache import OwnedFolder, errors_of_full_disk
from millrace.models.store import ModelStore
from millrace.storage import download, mapped_errors
from serve.errors import ModelNotFound


@dataclass(frozen=True)
class ForeignCopy:
    """The files of a version on this machine.

    Attributes:
        folder: The SavedModel.
        owned: The copy; None if the store is on this machine.
    """

    folder: Path
    owned: OwnedFolder | None = None

    def keep_for(self, owner: object) -> None:
        """Keep the copy as long as an object lives: TensorFlow may read its assets, and may load it again."""
        if self.owned:
            weakref.finalize(owner, self.owned.remove)


@contextlib.contextmanager
def foreign_copy(store: ModelStore, name: str, version: int) -> Iterator[ForeignCopy]:
    """The files of a version: in the store if that is local, else a copy, which is removed if loading fails.

    Raises:
        ModelNotFound: There is no such version.
        StorageError: The store cannot be read.
    """
    if version not in store.versions(name):
        raise ModelNotFound(name, version)
    uri = store.store.uri("models", name, str(version))
    if "://" not in uri:
        yield ForeignCopy(Path(uri))
        return
    owned = OwnedFolder(f"{name}-{version}")
    try:
        with mapped_errors("model version", f"{name}/{version}"), errors_of_full_disk(owned.path.parent):
            download(uri, owned.path)
        yield ForeignCopy(owned.path, owned)
    except BaseException:
        owned.remove()
        raise
