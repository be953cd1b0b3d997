"""The model store: immutable versions in TF Serving's directory layout, each with its ``model.json``.

``models/<name>/<version>/`` holds ``saved_model.pb``, ``variables/``, ``assets/`` and ``model.json``. A version is
visible whole or not at all, and every file is checked against its digest before anybody loads it.
"""

import logging
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.digests import digest_of, sha256_of
from pipelines.errors import ArtifactExists, ArtifactNotFound, DataRejected
from pipelines.failpoints import fail_here
from pipelines.features import FeatureSpec
from pipelines.storage import Store, download, is_plain, mapped_errors

logger = logging.getLogger(__name__)

MANIFEST: Final = "model.json"
_VERSION: Final = re.compile(r"[1-9][0-9]{0,17}")


class ModelDamaged(DataRejected):
    """A model version's files are not those that were published."""

    def __init__(self, place: str, reason: str) -> None:
        name, version = place.rstrip("/").split("/")[-2:]
        super().__init__(
            f"model {name} version {version}: {reason}",
            hint="publish the model again",
        )
        self.reason = reason


class ModelFile(BaseModel):
    """One file of a model version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    """Relative to the version's folder."""
    size: int
    sha256: str


class Lineage(BaseModel):
    """What a model was made from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    commit_key: str
    """Same product, configuration and table version: a rerun with the same key publishes nothing."""
    table: str
    table_version: int
    table_sha256: str = ""
    """Digest of that version's list of files."""
    fitted_on: dict[str, Any] = Field(default_factory=dict)
    """The rows that the model and its statistics saw: which split, how many, and the rule that made it."""
    config_sha256: str
    code_sha256: str
    seed: int
    packages: dict[str, str]
    parent: int | None = None
    """The version that was newest before."""


class ModelManifest(BaseModel):
    """The description of a model version that travels inside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int
    description: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    author: str = ""
    created: str
    """UTC, ISO 8601, for people; nothing orders by it."""
    features: FeatureSpec
    outputs: dict[str, str]
    """dtype by output of ``serving_default``."""
    metrics: dict[str, Any]
    """Of the test split: model, baseline, previous, slices."""
    lineage: Lineage
    files: tuple[ModelFile, ...]

    @property
    def digest(self) -> str:
        """Identifies the model's bytes: a hash over the digests of its files."""
        return digest_of([[f.path, f.sha256] for f in self.files])


@dataclass(frozen=True)
class ModelVersion:
    """A published version.

    Attributes:
        place: Its folder, as the store names it.
        manifest: Its description.
    """

    place: str
    manifest: ModelManifest

    @property
    def folder(self) -> Path:
        """Its folder on this machine; see `checked_copy`."""
        if self.is_remote:
            raise ValueError(f"{self.place} is not on this machine")
        return Path(self.place)

    @property
    def is_remote(self) -> bool:
        """Whether TensorFlow cannot read it where it lies."""
        return "://" in self.place


def list_files(folder: Path) -> tuple[ModelFile, ...]:
    """Every file of a SavedModel folder but the manifest, with size and digest, sorted."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.relative_to(folder) != Path(MANIFEST))
    return tuple(
        ModelFile(path=p.relative_to(folder).as_posix(), size=p.stat().st_size, sha256=sha256_of(p)) for p in paths
    )


def verify_files(version: ModelVersion) -> None:
    """Compare every file with the manifest, before TensorFlow sees any of them.

    Raises:
        ModelDamaged: A file is missing, changed, or not in the manifest.
    """
    listed = {file.path: file for file in version.manifest.files}
    found = {file.path: file for file in list_files(version.folder)}
    for path in sorted(listed.keys() | found.keys()):
        if path not in found:
            raise ModelDamaged(version.place, f"{path} is missing")
        if path not in listed:
            raise ModelDamaged(version.place, f"{path} is not in {MANIFEST}")
        if found[path] != listed[path]:
            raise ModelDamaged(version.place, f"{path} does not have the digest in {MANIFEST}")


def checked_copy(version: ModelVersion) -> ModelVersion:
    """A version on this machine whose every file is the one published: itself, or a copy in the machine's cache.

    Raises:
        ModelDamaged: A file is missing, changed, or not in the manifest.
        StorageError: The store cannot be read.
    """
    if not version.is_remote:
        verify_files(version)
        return version
    manifest = version.manifest
    target = _cache_folder() / manifest.digest / manifest.name / str(manifest.version)
    copy = replace(version, place=str(target))
    if target.is_dir():
        try:
            verify_files(copy)
            return copy
        except ModelDamaged as error:
            logger.warning("the copy in %s is damaged and fetched again: %s", target, error)
            shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".tmp-") as folder:
        staged = replace(version, place=str(Path(folder, manifest.name, str(manifest.version))))
        with mapped_errors("model version", f"{manifest.name}/{manifest.version}"):
            download(version.place, staged.folder)
        verify_files(staged)
        fail_here("cache.before_rename")
        try:
            staged.folder.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was first, with the same bytes
                raise
    return copy


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MILLRACE_CACHE") or Path(base, "millrace"), "models")


class ModelStore:
    """Model versions under ``models/`` of a store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def names(self) -> list[str]:
        """Names of all models that have a version."""
        return [name for name in self.store.names("models") if self.versions(name)]

    def versions(self, name: str) -> list[int]:
        """Version numbers, ascending; folders that are no number are not versions."""
        if not is_plain(name):
            return []
        return sorted(int(n) for n in self.store.names("models", name) if _VERSION.fullmatch(n))

    def open(self, name: str, version: int | None = None) -> ModelVersion:
        """A version and its manifest; the newest by default. Files are not checked yet (see `verify_files`).

        Raises:
            ArtifactNotFound: No such model or version.
            ModelDamaged: The manifest cannot be read.
        """
        versions = self.versions(name)
        if version is None and versions:
            version = versions[-1]
        if version is None or version not in versions:
            known = f"versions: {', '.join(map(str, versions))}" if versions else "run: millrace train"
            raise ArtifactNotFound(kind="model", name=name, version=version, hint=known)
        place = self.store.uri("models", name, str(version))
        try:
            manifest = ModelManifest.model_validate_json(self.store.read("models", name, str(version), MANIFEST))
        except (ValidationError, ArtifactNotFound) as error:
            raise ModelDamaged(place, f"{MANIFEST} is missing or not valid") from error
        if (manifest.name, manifest.version) != (name, version):
            raise ModelDamaged(place, f"{MANIFEST} names {manifest.name} version {manifest.version}")
        return ModelVersion(place, manifest)

    def _manifest_of(self, name: str, version: int) -> ModelManifest | None:
        try:
            return self.open(name, version).manifest
        except (ModelDamaged, ArtifactNotFound):
            return None

    def _twin_of(self, manifest: ModelManifest, versions: list[int]) -> ModelVersion | None:
        """What another run has made of the same since this one began.

        Nobody takes the next number between this look and the publishing without being seen: the number would be taken.
        """
        mine = manifest.lineage
        for version in versions:
            if version <= (mine.parent or 0):
                continue
            found = self._manifest_of(manifest.name, version)
            if found and found.lineage.commit_key == mine.commit_key and found.lineage.run_id != mine.run_id:
                return ModelVersion(self.store.uri("models", manifest.name, str(version)), found)
        return None

    def publish(self, folder: Path, manifest: ModelManifest) -> ModelVersion:
        """Make an exported model visible as the next version of its name, whole or not at all.

        Args:
            folder: Local SavedModel; its manifest is written here first.
            manifest: Its version and files are filled in.

        Returns:
            The new version, or the one that another run published from the same lineage in the meantime.

        Raises:
            ArtifactExists: Other publishers took every number tried.
        """
        for _ in range(10):
            versions = self.versions(manifest.name)
            if twin := self._twin_of(manifest, versions):
                return twin
            number = (versions or [0])[-1] + 1
            numbered = manifest.model_copy(update={"version": number, "files": list_files(folder)})
            (folder / MANIFEST).write_text(numbered.model_dump_json(indent=2, by_alias=True))
            try:
                self.store.publish_folder(folder, "models", manifest.name, str(number))
            except ArtifactExists:
                # Another publisher's, or mine: a rename whose reply was lost is sent again, and then finds itself.
                if self._manifest_of(manifest.name, number) != numbered:
                    continue
            return ModelVersion(self.store.uri("models", manifest.name, str(number)), numbered)
        raise ArtifactExists(kind="model version", name=f"{manifest.name}/{number}")
