"""The model store: immutable versions in TF Serving's directory layout, each with its ``model.json``.

``models/<name>/<version>/`` holds ``saved_model.pb``, ``variables/``, ``assets/`` and ``model.json``. A version is
visible completely or not at all, and the digest of every file is checked before it is loaded.
"""

import difflib
import re
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from millrace.errors import ArtifactExists, ArtifactNotFound, Refused
from millrace.models.files import list_files
from millrace.models.manifest import MANIFEST, ModelDamaged, ModelManifest, ModelVersion
from millrace.storage import Store, is_plain

_VERSION: Final = re.compile(r"[1-9][0-9]{0,18}")
SAVED_MODEL: Final = "saved_model.pb"
MAX_VERSION: Final = 2**63 - 1
"""Versions are int64, as in TensorFlow Serving."""


class ModelStore:
    """Model versions under ``models/`` of a store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def names(self) -> list[str]:
        """Return the names of all models that have a version."""
        return [name for name in self.store.names("models") if self.versions(name)]

    def versions(self, name: str) -> list[int]:
        """Return the version numbers, ascending; folders with other names are not versions."""
        if not is_plain(name):
            return []
        numbers = (int(n) for n in self.store.names("models", name) if _VERSION.fullmatch(n))
        return sorted(number for number in numbers if number <= MAX_VERSION)

    def why_no_version(self, name: str) -> str:
        """Why a model has no version that can be served, with the mistakes that people make.

        Raises:
            StorageError: The store cannot be read.
        """
        if not self.store.exists():
            return f"there is no store at {self.store.root} yet"
        if not is_plain(name):
            return "its name is not the name of a folder"
        found = self.store.names("models", name)
        if SAVED_MODEL in found:
            return f"{SAVED_MODEL} lies in models/{name}: move the files to models/{name}/1"
        wrong = [entry for entry in found if not _VERSION.fullmatch(entry)]
        if wrong and len(wrong) == len(found):
            return f"'{wrong[0]}' in models/{name} is no version: that is a whole number without zeros before it"
        if found:
            return "the store has no version of it that the settings allow"
        return "the store has no version of it yet; the first one will be loaded"

    def open(self, name: str, version: int | None = None) -> ModelVersion:
        """Read a version's manifest; the newest version by default. Files are not checked (see `verify_files`).

        Raises:
            ArtifactNotFound: No such model or version.
            ModelDamaged: The manifest cannot be read.
        """
        versions = self.versions(name)
        if version is None and versions:
            version = versions[-1]
        if version is None or version not in versions:
            near = difflib.get_close_matches(name, self.names(), n=1) if not versions else []
            known = f"did you mean '{near[0]}'?" if near else "run: millrace train FILE"
            if versions:
                known = f"versions: {', '.join(map(str, versions))}"
            raise ArtifactNotFound(kind="model", name=name, version=version, hint=known)
        uri = self.store.uri("models", name, str(version))
        try:
            manifest = ModelManifest.model_validate_json(self.store.read("models", name, str(version), MANIFEST))
        except ArtifactNotFound as error:
            has_graph = self.store.exists("models", name, str(version), SAVED_MODEL)
            reason = f"it has no {MANIFEST}" if has_graph else f"it has neither {MANIFEST} nor {SAVED_MODEL}"
            raise ModelDamaged(uri, reason) from error
        except ValidationError as error:
            raise ModelDamaged(uri, f"{MANIFEST} is not valid") from error
        if (manifest.name, manifest.version) != (name, version):
            raise ModelDamaged(uri, f"{MANIFEST} names {manifest.name} version {manifest.version}")
        return ModelVersion(uri, manifest, self.store.retry)

    def is_foreign(self, name: str, version: int) -> bool:
        """Whether a version is a SavedModel that another system wrote: it has no manifest.

        Raises:
            StorageError: The store cannot be read.
        """
        if version not in self.versions(name):  # the name may be no name of a folder
            return False
        folder = ("models", name, str(version))
        return not self.store.exists(*folder, MANIFEST) and self.store.exists(*folder, SAVED_MODEL)

    def _manifest_of(self, name: str, version: int) -> ModelManifest | None:
        try:
            return self.open(name, version).manifest
        except (ModelDamaged, ArtifactNotFound):
            return None

    def _twin_of(self, manifest: ModelManifest, versions: list[int]) -> ModelVersion | None:
        """Find a version that another run published from the same lineage since this run started.

        If another run publishes after this check, it takes the next number, and publishing this version fails.
        """
        own = manifest.lineage
        for version in versions:
            if version <= (own.parent or 0):
                continue
            found = self._manifest_of(manifest.name, version)
            if found and found.lineage.commit_key == own.commit_key and found.lineage.run_id != own.run_id:
                return ModelVersion(self.store.uri("models", manifest.name, str(version)), found, self.store.retry)
        return None

    def publish(self, folder: Path, manifest: ModelManifest) -> ModelVersion:
        """Publish an exported model as the next version of its name, completely or not at all.

        Args:
            folder: Local SavedModel folder; the manifest is written to it first.
            manifest: The manifest, without version and files.

        Returns:
            The new version, or the one that another run published from the same lineage in the meantime.

        Raises:
            ArtifactExists: Other publishers took every number that was tried.
            Refused: The model has the highest version number that there is.
        """
        for _ in range(10):
            versions = self.versions(manifest.name)
            if twin := self._twin_of(manifest, versions):
                return twin
            number = (versions or [0])[-1] + 1
            if number > MAX_VERSION:
                raise Refused(
                    f"model {manifest.name} has version {MAX_VERSION}, the highest number there is",
                    hint="remove that version, or publish under another name",
                )
            numbered = manifest.model_copy(update={"version": number, "files": list_files(folder)})
            (folder / MANIFEST).write_text(numbered.model_dump_json(indent=2, by_alias=True))
            try:
                self.store.publish_folder(folder, "models", manifest.name, str(number))
            except ArtifactExists:
                # Another publisher's version, or this one: after a lost reply the client sends the rename again.
                if self._manifest_of(manifest.name, number) != numbered:
                    continue
            return ModelVersion(self.store.uri("models", manifest.name, str(number)), numbered, self.store.retry)
        raise ArtifactExists(kind="model version", name=f"{manifest.name}/{number}")
