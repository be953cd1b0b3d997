"""Evaluates a model on raw rows, overall and by slice, and a baseline on the same rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millrace.errors import DataRejected
from millrace.features.encoding import encode
from millrace.features.spec import FeatureSpec
from train.data.tensors import encode_labels, to_tensor
from train.evaluation.classes import ClassSums
from train.evaluation.metrics import Sums, merge_sums
from train.evaluation.scores import EXACT
from train.evaluation.slices import OTHER, Slices, keys_of
from train.evaluation.values import ValueSums
from train.preprocessing.statistics import LabelStatistics

Model = Callable[[dict[str, Any]], Mapping[str, Any]]
"""Maps raw input tensors by name to outputs by name, like the exported signature."""


def extract_predictions(outputs: Mapping[str, Any], spec: FeatureSpec) -> npt.NDArray[np.float32]:
    """Get class probabilities, shape (rows, classes), or predicted values, shape (rows,), from the outputs."""
    if spec.label.task == "binary":
        positive = np.asarray(outputs["probability"])
        return np.stack([1 - positive, positive], 1)
    return np.asarray(outputs["probabilities" if spec.label.task == "multiclass" else "prediction"])


def new_sums(spec: FeatureSpec, label: LabelStatistics, *, of_slice: bool = False, exact: bool = False) -> Sums:
    """Empty sums for the task; those of a slice have no confusion matrix."""
    if spec.label.task == "regression":
        return ValueSums(label.mean)
    return ClassSums(len(spec.label.classes), of_slice, exact, most_probable=spec.label.task == "multiclass")


def is_exact(spec: FeatureSpec, slices: Slices, rows: int) -> bool:
    """Whether all scores of so many test rows, of all ranks together, are kept; the same on every rank."""
    return rows * len(spec.label.classes) * (1 + len(slices)) <= EXACT


@dataclass
class Evaluation:
    """Sums of one model over the rows of one rank.

    Attributes:
        spec: Inputs and label of the model.
        label: Statistics of the label in the train split, for the baseline.
        slices: Values by column that get metrics of their own; all other values of the column share one entry.
        exact: Whether all scores are kept, for an exact AUC.
        overall: Sums over all rows.
        by_slice: Sums by slice column and value.
    """

    spec: FeatureSpec
    label: LabelStatistics
    slices: Slices
    exact: bool = False

    def __post_init__(self) -> None:
        self.overall = self._sums(of_slice=False)
        self.by_slice: dict[str, dict[str, Sums]] = {
            name: {value: self._sums(of_slice=True) for value in values} for name, values in self.slices.items()
        }

    def _sums(self, *, of_slice: bool) -> Sums:
        return new_sums(self.spec, self.label, of_slice=of_slice, exact=self.exact)

    def add(self, model: Model, batch: pa.RecordBatch) -> Mapping[str, Any]:
        """Run the model on raw rows and add its predictions to the sums; returns the outputs of the model.

        Raises:
            DataRejected: An output is not finite.
        """
        outputs = model({f.name: to_tensor(encode(batch.column(f.name), f)) for f in self.spec.inputs})
        predictions = extract_predictions(outputs, self.spec)
        broken = int((~np.isfinite(predictions if predictions.ndim == 1 else predictions.sum(1))).sum())
        if broken:
            raise DataRejected(
                f"the model's outputs are not finite for {broken} of {batch.num_rows} rows of the test split",
                hint="look for extreme values in its inputs, or lower train.learning_rate",
            )
        labels = encode_labels(batch.column(self.spec.label.name), self.spec)
        self.overall.add(labels, predictions)
        for name in self.slices:
            own = self.by_slice[name]
            values = np.array([key if key in own else OTHER for key in keys_of(batch.column(name))], dtype=object)
            for value in np.unique(values):
                in_slice = values == value
                sums = own.setdefault(value, self._sums(of_slice=True))
                sums.add(labels[in_slice], predictions[in_slice])
        return outputs


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
