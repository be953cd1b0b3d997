"""What is kept of a training run: the manifest of its model, the record of the run, and lines in the log."""

import logging
import os
import time
from collections.abc import Mapping
from importlib import metadata
from typing import Any, Final

from millrace.config import Config
from millrace.config.sections.train import METRICS
from millrace.features.spec import FeatureSpec, Task
from millrace.models.manifest import Lineage, ModelManifest
from millrace.runs import RunRecord
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
