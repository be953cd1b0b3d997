"""The manifest of a model version: ``model.json``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from millrace.digests import digest_of
from millrace.errors import DataRejected
from millrace.features.spec import FeatureSpec
from millrace.retry import NO_RETRY, RetryPolicy

MANIFEST: Final = "model.json"


class ModelDamaged(DataRejected):
    """The files of a model version differ from those that were published, or cannot be loaded.

    Args:
        uri: The folder of the version; its last two parts are the name and the number.
        reason: What is wrong.
        hint: What to do; by default, to publish the model again.
    """

    def __init__(self, uri: str, reason: str, *, hint: str = "") -> None:
        name, version = uri.rstrip("/").split("/")[-2:]
        super().__init__(f"model {name} version {version}: {reason}", hint=hint or "publish the model again")
        self.reason = reason


class ModelFile(BaseModel):
    """One file of a model version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    """Relative to the version's folder."""
    size: int
    sha256: str


class Lineage(BaseModel):
    """The origin of a model: run, table version, configuration and code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    commit_key: str
    """Identifies product, configuration and table version: a run with the same key publishes nothing."""
    table: str
    table_version: int
    table_sha256: str = ""
    """Digest of the list of files of the table version."""
    fitted_on: dict[str, Any] = Field(default_factory=dict)
    """The training rows: the split, the number of rows, and the rule of the split."""
    config_sha256: str
    code_sha256: str
    seed: int
    packages: dict[str, str]
    parent: int | None = None
    """The newest version before this one."""


class ModelManifest(BaseModel):
    """The manifest of a model version, stored in its folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int
    description: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    author: str = ""
    created: str
    """Time of creation in UTC, ISO 8601; for display only."""
    features: FeatureSpec
    outputs: dict[str, str]
    """dtype by output of ``serving_default``."""
    metrics: dict[str, Any]
    """Metrics on the test split: of the model, the baseline and the previous version, and by slice."""
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
        uri: Its folder in the store.
        manifest: Its manifest.
        retry: The policy for reading its files.
    """

    uri: str
    manifest: ModelManifest
    retry: RetryPolicy = field(default=NO_RETRY, compare=False, repr=False)

    @property
    def folder(self) -> Path:
        """Its folder on this machine; see `checked_copy`."""
        if self.is_remote:
            raise ValueError(f"{self.uri} is not on this machine")
        return Path(self.uri)

    @property
    def is_remote(self) -> bool:
        """Whether it is not on this machine, so that TensorFlow cannot read it."""
        return "://" in self.uri
