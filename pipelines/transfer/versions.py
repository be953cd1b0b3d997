"""Copies model versions between stores over HTTP: completely and verified, or not at all."""

from pathlib import Path

from pydantic import ValidationError

from millrace.errors import ArtifactNotFound, ConfigError, Refused
from millrace.models.files import verify_files
from millrace.models.manifest import MANIFEST, ModelDamaged, ModelManifest, ModelVersion
from millrace.storage import Store, is_plain
from pipelines.transfer.get import get
from pipelines.transfer.plan import Moved
from pipelines.transfer.put import put
from pipelines.transfer.webhdfs import WebHdfs


def push(hdfs: WebHdfs, root: str, version: ModelVersion, *, workers: int, block_bytes: int) -> Moved:
    """Upload a model version to a store behind WebHDFS, under the same name and number.

    Args:
        hdfs: The target file system.
        root: The store's folder in it.
        version: A version on this machine with verified files; see `millrace.models.files.checked_copy`.
        workers: Number of threads.
        block_bytes: Size of the blocks.

    Raises:
        Refused: The store has a different model with this number.
    """
    manifest = version.manifest
    target = f"{root.rstrip('/')}/models/{manifest.name}/{manifest.version}"
    try:
        return put(hdfs, version.folder, target, force=False, workers=workers, block_bytes=block_bytes)
    except Refused as error:
        raise Refused(
            f"{error}: another version {manifest.version} of model '{manifest.name}'",
            hint="versions are never replaced; publish this model again with a new number",
        ) from error


def find_version(hdfs: WebHdfs, root: str, name: str, version: int | None) -> int:
    """Return the number of a model version in a store behind WebHDFS; the newest by default.

    Raises:
        ArtifactNotFound: No such model or version.
    """
    folder = f"{root.rstrip('/')}/models/{name}"
    status = hdfs.status(folder) if is_plain(name) else None
    found = hdfs.names(folder) if status and status.is_folder else {}
    numbers = sorted(int(each) for each in found if each.isascii() and each.isdecimal() and each[0] != "0")
    if not numbers or version not in (None, *numbers):
        known = f"versions: {', '.join(map(str, numbers))}" if numbers else f"the store is {hdfs.address}{root}"
        raise ArtifactNotFound(kind="model", name=name, version=version, hint=known)
    return version or numbers[-1]


def pull(hdfs: WebHdfs, root: str, name: str, version: int | None, store: Store, *, workers: int) -> Moved:
    """Download a model version from a store behind WebHDFS to a store on this machine.

    Raises:
        ArtifactNotFound: No such model or version.
        ModelDamaged: The files differ from the manifest; nothing becomes visible.
        Refused: The local store has a different model with this number.
        ConfigError: The store is not on this machine.
    """
    number = find_version(hdfs, root, name, version)
    target = store.uri("models", name, str(number))
    if "://" in target:
        raise ConfigError(f"{store.root} is not on this machine", hint="choose a local store with --store")
    source = f"{root.rstrip('/')}/models/{name}/{number}"
    try:
        return get(
            hdfs, source, Path(target), force=False, workers=workers, check=lambda staged: _check(staged, name, number)
        )
    except Refused as error:
        raise Refused(
            f"{error}: versions are never replaced", hint="the local store has a different model with this number"
        ) from error


def _check(folder: Path, name: str, number: int) -> None:
    version = f"{name}/{number}"
    try:
        manifest = ModelManifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError) as error:
        raise ModelDamaged(version, f"{MANIFEST} is missing or not valid") from error
    if (manifest.name, manifest.version) != (name, number):
        raise ModelDamaged(version, f"{MANIFEST} names {manifest.name} version {manifest.version}")
    try:
        verify_files(ModelVersion(str(folder), manifest))
    except ModelDamaged as error:
        raise ModelDamaged(version, error.reason) from None
