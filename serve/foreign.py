"""Model versions that another system wrote into the store: TensorFlow Serving's layout, without a ``model.json``."""

import tempfile
from pathlib import Path

from pipelines.models import ModelStore
from pipelines.storage import download, mapped_errors
from serve.errors import ModelNotFound


def fetch_foreign(store: ModelStore, name: str, version: int) -> Path:
    """The folder of a version on this machine: where it lies, or a copy among the machine's temporary files.

    Raises:
        ModelNotFound: There is no such version.
        StorageError: The store cannot be read.
    """
    if version not in store.versions(name):
        raise ModelNotFound(name, version)
    place = store.store.uri("models", name, str(version))
    if "://" not in place:
        return Path(place)
    folder = Path(tempfile.mkdtemp(prefix=f"millrace-{name}-{version}-"))
    with mapped_errors("model version", f"{name}/{version}"):
        download(place, folder)
    return folder
