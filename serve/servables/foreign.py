"""Model versions that another system wrote into the store: TensorFlow Serving's layout, without a ``model.json``."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from millrace.models.store import ModelStore
from millrace.storage import download, mapped_errors
from serve.errors import ModelNotFound


@contextlib.contextmanager
def foreign_copy(store: ModelStore, name: str, version: int) -> Iterator[Path]:
    """The folder of a version on this machine: in the store if that is local, else a copy.

    The copy is removed if loading fails. Otherwise it stays, because TensorFlow may read its assets later.

    Raises:
        ModelNotFound: There is no such version.
        StorageError: The store cannot be read.
    """
    if version not in store.versions(name):
        raise ModelNotFound(name, version)
    uri = store.store.uri("models", name, str(version))
    if "://" not in uri:
        yield Path(uri)
        return
    folder = Path(tempfile.mkdtemp(prefix=f"millrace-{name}-{version}-"))
    try:
        with mapped_errors("model version", f"{name}/{version}"):
            download(uri, folder)
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
