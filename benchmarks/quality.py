"""Compare the test AUC of the flights product with gradient boosting on the same rows and columns."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score

from benchmarks.figures import FLIGHTS, TIME_SPLIT, Figure
from millrace.features.spec import Feature, FeatureSpec
from millrace.models.store import ModelStore
from millrace.storage import Store
from millrace.tables.versions import CLEAN, TableVersion, find_table
from pipelines.jobs.stages import Request, run_stages

MAX_CATEGORIES = 255
"""Gradient boosting supports at most this many categories; a column with more values is treated as numeric."""


def measure(folder: Path) -> list[Figure]:
    """Train both models on the hash split and on the time split."""
    figures = []
    for name, settings, goal in (("hash split", list[str](), 0.79), ("time split", TIME_SPLIT, 0.0)):
        root = str(folder / name.split(maxsplit=1)[0])
        code, records = run_stages(("ingest", "train"), Request(FLIGHTS, settings=[*settings, f"store.root={root}"]))
        if code:
            raise SystemExit(records[-1].reason)
        store = Store(root)
        manifest = ModelStore(store).open("flights").manifest
        metrics = manifest.metrics["model"]
        boosted = gradient_boosting(find_table(store, "flights", CLEAN), manifest.features)
        figures += [
            Figure(
                f"test AUC, {name}",
                f"{metrics['auc']:.4f} (log loss {metrics['log_loss']:.4f})",
                f"HistGradientBoosting {boosted[0]:.4f} (log loss {boosted[1]:.4f})",
                f">= {max(goal, round(boosted[0] - 0.01, 4))}",
                metrics["auc"] >= max(goal, boosted[0] - 0.01),
            )
        ]
    return figures


def gradient_boosting(table: TableVersion, spec: FeatureSpec) -> tuple[float, float]:
    """Return test AUC and log loss of scikit-learn's classifier, with 400 iterations on the model's columns."""
    train, label = columns_of(table, spec, ("train", "validation"))
    test, truth = columns_of(table, spec, ("test",))
    encoded = [encode(train[f.name], test[f.name], f) for f in spec.inputs]
    categorical = [is_category for _, _, is_category in encoded]
    model = HistGradientBoostingClassifier(max_iter=400, categorical_features=categorical, random_state=7)
    model.fit(np.column_stack([values for values, _, _ in encoded]), label)
    predictions = model.predict_proba(np.column_stack([values for _, values, _ in encoded]))[:, 1]
    return float(roc_auc_score(truth, predictions)), float(log_loss(truth, predictions))


def columns_of(table: TableVersion, spec: FeatureSpec, splits: tuple[str, ...]) -> tuple[pa.Table, np.ndarray]:
    """Read the raw columns and the label of some splits."""
    names = [*(f.name for f in spec.inputs), spec.label.name]
    files = [file for split in splits for file in table.files_of(split)]
    rows = pa.concat_tables([pq.read_table(file.path, columns=names, partitioning=None) for file in files])
    return rows, rows[spec.label.name].to_numpy()


def encode(train: pa.ChunkedArray, test: pa.ChunkedArray, feature: Feature) -> tuple[Any, Any, bool]:
    """Return numbers for training and test data, and whether they are categories."""
    if feature.dtype == "timestamp":
        train, test = train.cast(pa.int64()), test.cast(pa.int64())
    if feature.dtype == "string" or feature.transform.kind == "category":
        words = train.unique().drop_null().to_pylist()
        numbers = {word: number for number, word in enumerate(sorted(words))}
        both = [np.array([numbers.get(v, np.nan) for v in part.to_pylist()], float) for part in (train, test)]
        return both[0], both[1], len(numbers) <= MAX_CATEGORIES
    return train.cast(pa.float64()).to_numpy(), test.cast(pa.float64()).to_numpy(), False
