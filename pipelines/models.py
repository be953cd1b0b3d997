"""The model store: immutable versions in TF Serving's directory layout, each with its ``model.json``.

``models/<name>/<version>/`` holds ``saved_model.pb``, ``variables/``, ``assets/`` and ``model.json``. A version is
visible whole or not at all, and every file is checked against its digest before anybody loads it.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.digests import digest_of, sha256_of
from pipelines.errors import ArtifactExists, ArtifactNotFound, DataRejected
from pipelines.features import FeatureSpec
from pipelines.storage import Store, is_plain

MANIFEST: Final = "model.json"
_VERSION: Final = re.compile(r"[1-9][0-9]{0,17}")


class ModelDamaged(DataRejected):
    """A model version's files are not those that were published."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"model {folder.parent.name} version {folder.name}: {reason}",
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
    """A published version: where it lies, and its manifest."""

    folder: Path
    manifest: ModelManifest


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
            raise ModelDamaged(version.folder, f"{path} is missing")
        if path not in listed:
            raise ModelDamaged(version.folder, f"{path} is not in {MANIFEST}")
        if found[path] != listed[path]:
            raise ModelDamaged(version.folder, f"{path} does not have the digest in {MANIFEST}")


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
        folder = self.store.path("models", name, str(version))
        try:
            manifest = ModelManifest.model_validate_json(self.store.read("models", name, str(version), MANIFEST))
        except (ValidationError, ArtifactNotFound) as error:
            raise ModelDamaged(folder, f"{MANIFEST} is missing or not valid") from error
        if (manifest.name, manifest.version) != (name, version):
            raise ModelDamaged(folder, f"{MANIFEST} names {manifest.name} version {manifest.version}")
        return ModelVersion(folder, manifest)

    def publish(self, folder: Path, manifest: ModelManifest) -> ModelVersion:
        """Make an exported model visible as the next version of its name, whole or not at all.

        Args:
            folder: Local SavedModel; its manifest is written here first.
            manifest: Its version and files are filled in.

        Raises:
            ArtifactExists: Other publishers took every number tried.
        """
        for _ in range(10):
            number = (self.versions(manifest.name) or [0])[-1] + 1
            numbered = manifest.model_copy(update={"version": number, "files": list_files(folder)})
            (folder / MANIFEST).write_text(numbered.model_dump_json(indent=2, by_alias=True))
            try:
                self.store.publish_folder(folder, "models", manifest.name, str(number))
            except ArtifactExists:
                continue
            return ModelVersion(self.store.path("models", manifest.name, str(number)), numbered)
        raise ArtifactExists(kind="model version", name=f"{manifest.name}/{number}")
