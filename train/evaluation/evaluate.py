"""Evaluates a model on raw rows, overall and by slice, and a baseline on the same rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millrace.features.encoding import encode
from millrace.features.spec import FeatureSpec
from train.data.tensors import encode_labels, to_tensor
from train.evaluation.metrics import ClassSums, Sums, ValueSums, merge_sums
from train.preprocessing.statistics import LabelStatistics

MAX_SLICES: Final = 200
"""Values of a slice column that get metrics of their own; the rows of all other values share one entry."""
OTHER: Final = "(other)"

Model = Callable[[dict[str, Any]], Mapping[str, Any]]
"""Maps raw input tensors by name to outputs by name, like the exported signature."""


def extract_predictions(outputs: Mapping[str, Any], spec: FeatureSpec) -> npt.NDArray[np.float32]:
    """Get class probabilities, shape (rows, classes), or predicted values, shape (rows,), from the outputs."""
    if spec.label.task == "binary":
        positive = np.asarray(outputs["probability"])
        return np.stack([1 - positive, positive], 1)
    return np.asarray(outputs["probabilities" if spec.label.task == "multiclass" else "prediction"])


def new_sums(spec: FeatureSpec, label: LabelStatistics, *, of_slice: bool = False) -> Sums:
    """Empty sums for the task; those of a slice have no confusion matrix."""
    if spec.label.task == "regression":
        return ValueSums(label.mean)
    return ClassSums(len(spec.label.classes), of_slice)


@dataclass
class Evaluation:
    """Sums of one model over the rows of one rank.

    Attributes:
        spec: Inputs and label of the model.
        label: Statistics of the label in the train split, for the baseline.
        slices: Columns whose values get metrics of their own.
        overall: Sums over all rows.
        by_slice: Sums by slice column and value.
    """

    spec: FeatureSpec
    label: LabelStatistics
    slices: tuple[str, ...]

    def __post_init__(self) -> None:
        self.overall = new_sums(self.spec, self.label)
        self.by_slice: dict[str, dict[str, Sums]] = {name: {} for name in self.slices}

    def add(self, model: Model, batch: pa.RecordBatch) -> Mapping[str, Any]:
        """Run the model on raw rows and add its predictions to the sums; returns the outputs of the model."""
        outputs = model({f.name: to_tensor(encode(batch.column(f.name), f)) for f in self.spec.inputs})
        predictions = extract_predictions(outputs, self.spec)
        labels = encode_labels(batch.column(self.spec.label.name).to_numpy(zero_copy_only=False), self.spec)
        self.overall.add(labels, predictions)
        for name in self.slices:
            values = np.array([str(v) for v in batch.column(name).to_pylist()], dtype=object)
            for value in np.unique(values):
                in_slice = values == value
                self._slice(name, value).add(labels[in_slice], predictions[in_slice])
        return outputs

    def _slice(self, column: str, value: str) -> Sums:
        known = self.by_slice[column]
        key = value if value in known or len(known) < MAX_SLICES else OTHER
        return known.setdefault(key, new_sums(self.spec, self.label, of_slice=True))


def summarise(parts: list[Evaluation]) -> dict[str, Any]:
    """Metrics over the rows of all ranks: model, baseline, slices."""
    first = parts[0]
    overall = merge_sums([part.overall for part in parts])
    slices: dict[str, dict[str, Any]] = {}
    for column in first.slices:
        values = sorted({value for part in parts for value in part.by_slice[column]})
        by_value = {v: [p.by_slice[column][v] for p in parts if v in p.by_slice[column]] for v in values}
        slices[column] = {value: merge_sums(sums).metrics() for value, sums in by_value.items()}
    return {
        "model": overall.metrics(),
        "baseline": _baseline(overall, first.label),
        "slices": slices,
    }


def _baseline(sums: Sums, label: LabelStatistics) -> dict[str, Any]:
    if isinstance(sums, ValueSums):
        return sums.baseline()
    counts = np.array([count for _, count in label.counts], float)
    return sums.baseline(counts / counts.sum())
