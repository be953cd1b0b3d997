"""Lists the files of a model version, verifies them by their digests, and copies them to this machine."""

import logging
import tempfile
from dataclasses import replace
from pathlib import Path

from millrace.digests import sha256_of
from millrace.failpoints import fail_here
from millrace.models.cache import cache_folder, errors_of_full_disk, evict, mark_used, remove_copy
from millrace.models.manifest import MANIFEST, ModelDamaged, ModelFile, ModelVersion
from millrace.storage import download, mapped_errors

logger = logging.getLogger(__name__)


def list_files(folder: Path) -> tuple[ModelFile, ...]:
    """List every file of a SavedModel folder except the manifest, with size and digest, sorted."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.relative_to(folder) != Path(MANIFEST))
    return tuple(
        ModelFile(path=p.relative_to(folder).as_posix(), size=p.stat().st_size, sha256=sha256_of(p)) for p in paths
    )


def verify_files(version: ModelVersion) -> None:
    """Compare every file with the manifest, before TensorFlow reads any of them.

    Raises:
        ModelDamaged: A file is missing, changed, or not in the manifest.
    """
    listed = {file.path: file for file in version.manifest.files}
    found = {file.path: file for file in list_files(version.folder)}
    for path in sorted(listed.keys() | found.keys()):
        if path not in found:
            raise ModelDamaged(version.uri, f"{path} is missing")
        if path not in listed:
            raise ModelDamaged(version.uri, f"{path} is not in {MANIFEST}")
        if found[path] != listed[path]:
            raise ModelDamaged(version.uri, f"{path} does not have the digest in {MANIFEST}")


def checked_copy(version: ModelVersion) -> ModelVersion:
    """Return a local version with verified files: the version itself, or a copy in this machine's cache.

    Raises:
        ModelDamaged: A file is missing, changed, or not in the manifest.
        StorageError: The store cannot be read.
        ConfigError: The cache folder cannot be written.
    """
    if not version.is_remote:
        verify_files(version)
        return version
    manifest = version.manifest
    cache = cache_folder()
    target = cache / "models" / manifest.digest / manifest.name / str(manifest.version)
    copy = replace(version, uri=str(target))
    if target.is_dir():
        mark_used(target)  # before reading it: from now on nobody removes it
        try:
            verify_files(copy)
            return copy
        except (ModelDamaged, FileNotFoundError) as error:
            logger.warning("the cached copy in %s is damaged; downloading it again: %s", target, error)
            remove_copy(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".tmp-") as folder:
        staged = replace(version, uri=str(Path(folder, manifest.name, str(manifest.version))))
        with mapped_errors("model version", f"{manifest.name}/{manifest.version}"), errors_of_full_disk(cache):
            download(version.uri, staged.folder, version.retry)
        verify_files(staged)
        fail_here("cache.before_rename")
        try:
            staged.folder.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was first with the same files
                raise
    mark_used(target)
    evict(target)
    return copy
