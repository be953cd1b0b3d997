"""Folders that look like an exported model, for tests that load none."""

from pathlib import Path

from millrace.features.spec import Feature, FeatureSpec, Label, Numeric
from millrace.models.manifest import Lineage, ModelManifest


def export(folder: Path, weights: bytes = b"weights") -> Path:
    """Write the files of a SavedModel, as far as a store can tell."""
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "index").write_bytes(b"index")
    (folder / "variables" / "data").write_bytes(weights)
    return folder


def manifest_of(name: str, author: str = "", run_id: str = "r1", parent: int | None = None) -> ModelManifest:
    """A manifest; publishing fills in version and files."""
    return ModelManifest(
        name=name,
        version=1,
        description="a small model",
        author=author,
        created="2013-01-01T00:00:00+00:00",
        features=FeatureSpec(
            inputs=(Feature(name="a", dtype="float64", nullable=True, transform=Numeric()),),
            label=Label(name="y", task="binary", classes=(0, 1)),
            key=("k",),
        ),
        outputs={"probability": "float32"},
        metrics={"model": {"auc": 0.75, "rows": 100}, "baseline": {"auc": 0.5}, "previous": None},
        lineage=Lineage(
            run_id=run_id,
            commit_key="c",
            table="p/clean",
            table_version=3,
            config_sha256="0" * 64,
            code_sha256="1" * 64,
            seed=7,
            packages={"tensorflow": "2.18.1"},
            parent=parent,
        ),
        files=(),
    )
