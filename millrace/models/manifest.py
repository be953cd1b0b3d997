"""The description that travels inside a model version: ``model.json``."""

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
    """A model version's files are not those that were published."""

    def __init__(self, uri: str, reason: str) -> None:
        name, version = uri.rstrip("/").split("/")[-2:]
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
        uri: Its folder, as the store names it.
        manifest: Its description.
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
        """Whether TensorFlow cannot read it where it lies."""
        return "://" in self.uri
