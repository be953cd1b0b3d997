"""What is kept of a training run: its folder, its epochs, the manifest of its model, the record, lines in the log."""

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Final, Self

from millrace.config import Config
from millrace.config.sections.train import METRICS
from millrace.features.spec import FeatureSpec, Task
from millrace.models.manifest import Lineage, ModelManifest
from millrace.runs import RunRecord
from millrace.storage import Store
from millrace.tables.versions import TableVersion
from train.evaluation.metrics import flatten
from train.export.saved_model import SAMPLE, output_dtypes

logger = logging.getLogger(__name__)

STAGE: Final = "train"
PACKAGES: Final = (
    "tensorflow-cpu",
    "tensorflow",
    "keras",
    "horovod",
    "pyspark",
    "numpy",
    "pyarrow",
    "deltalake",
)
EPOCHS: Final = "metrics.jsonl"
WRITE_S: Final = 1.0
"""Seconds between two writes of the epochs; the file is written anew each time."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run in the store.

    Attributes:
        store: The store.
        parts: Path of the folder in the store.
    """

    store: Store
    parts: tuple[str, ...]

    @property
    def uri(self) -> str:
        """URI of the folder, which is valid on every machine."""
        return self.store.uri(*self.parts)

    def put_json(self, name: str, value: object) -> None:
        """Write a small JSON file."""
        self.store.put(json.dumps(value, indent=2).encode(), *self.parts, name)


@dataclass
class EpochLog:
    """Logs the epochs, writes them to the run's folder, and reports progress.

    Attributes:
        folder: The run's folder.
        steps: Steps of an epoch.
        advance: Called with the number of steps so far.
        epochs: The epochs so far: number, losses, the best epoch.
    """

    folder: RunFolder
    steps: int
    advance: Callable[[int], None]
    epochs: list[dict[str, Any]] = field(default_factory=list)
    _written: int = 0
    _write_at: float = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._write()
        except Exception as error:  # training succeeded, or has an error of its own
            logger.warning("the last epochs are not in %s: %s", EPOCHS, error)

    def receive(self, event: dict[str, Any]) -> None:
        """Handle an event of rank 0."""
        if event["event"] == "step":
            self.advance(len(self.epochs) * self.steps + event["step"])
        if event["event"] == "epoch":
            self.epochs.append({name: value for name, value in event.items() if name != "event"})
            if time.monotonic() >= self._write_at:
                self._write()
            validation = "" if event["val_loss"] is None else f", validation loss {event['val_loss']:.4f}"
            best = " (best)" if event["best_epoch"] == event["epoch"] else ""
            logger.info("epoch %d: loss %.4f%s%s", event["epoch"], event["loss"], validation, best)

    def _write(self) -> None:
        if self._written < len(self.epochs):
            self._written = len(self.epochs)
            lines = "".join(json.dumps(epoch) + "\n" for epoch in self.epochs)
            self.folder.store.put(lines.encode(), *self.folder.parts, EPOCHS)
            self._write_at = time.monotonic() + WRITE_S


def metrics_of(result: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The metrics of the model, of the baseline and of the version before that are single numbers."""
    return {source: flatten(result.get(source) or {}) for source in ("model", "baseline", "previous")}


def log_metrics(result: dict[str, Any], task: Task) -> None:
    """Log the metrics of the model, of the baseline and of the version before."""
    model = result["model"]
    for key, reason in (("unlabelled_rows", "have no label"), ("unknown_rows", "have a class that training never saw")):
        if model.get(key):
            logger.warning("test: %d rows are left out, because they %s", model[key], reason)
    for name in METRICS[task]:
        values = {source: (result[source] or {}).get(name) for source in ("model", "baseline", "previous")}
        shown = [f"{source} {value:.4f}" for source, value in values.items() if value is not None]
        logger.info("test %s: %s", name, ", ".join(shown))


def manifest_of(config: Config, spec: FeatureSpec, metrics: dict[str, Any], lineage: Lineage) -> ModelManifest:
    """Return the manifest of a model that is about to be published; the model store sets version and files."""
    return ModelManifest(
        name=config.product,
        version=0,
        description=config.description,
        author=os.environ.get("USER", ""),
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        features=spec,
        outputs=output_dtypes(spec),
        metrics=metrics,
        lineage=lineage,
        files=(),
    )


def packages() -> dict[str, str]:
    """Return the versions of the installed packages that decide about the numbers."""
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def record_of(run_id: str, config: Config, table: TableVersion, manifest: ModelManifest, *, outcome: Any) -> RunRecord:
    """Return the record of a run that found or published a model version."""
    rows = table.rows_of()
    return RunRecord(
        stage=STAGE,
        run_id=run_id,
        product=config.product,
        outcome=outcome,
        version=manifest.version,
        rows_in=rows,
        rows_out=rows,
        details={
            "table_version": table.version,
            "metrics": metrics_of(manifest.metrics),
            "empty_inputs": manifest.metrics.get("empty_inputs", []),
            "best_epoch": manifest.metrics.get("best_epoch"),
            "schedule": manifest.metrics.get("schedule"),
            "seconds": manifest.metrics.get("seconds"),
            "sample": f"runs/{config.product}/{manifest.lineage.run_id}/{STAGE}/{SAMPLE}",
        },
    ).check_accounts()
