"""Evaluates the trained model and the previous version on the test split; each rank reads its own rows."""

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa

from millrace.features.spec import FeatureSpec
from millrace.models.files import checked_copy
from millrace.models.manifest import ModelVersion
from train.data.cache import PART
from train.data.rows import Reader
from train.evaluation.evaluate import Evaluation, Model, is_exact, summarise
from train.evaluation.slices import Slices
from train.preprocessing.statistics import LabelStatistics
from train.world import World

MAX_PROBABILITIES: Final = 1 << 22
"""Probabilities that are in memory at once."""
SAMPLE_ROWS: Final = 1_000
"""Test rows that are kept with the model's outputs, to check the exported model, batch scoring and the server."""


def evaluate_test_split(
    model: Model,
    reader: Reader,
    world: World,
    label: LabelStatistics,
    slices: Slices,
    previous: ModelVersion | None,
) -> tuple[dict[str, Any], tuple[list[Any], list[Any]]]:
    """Metrics over the test rows of all ranks, and this rank's first raw rows with the model's outputs.

    Args:
        model: The trained model.
        reader: Reads the test split.
        world: This rank's place, which decides the rows that it reads.
        label: Statistics of the label in the train split, for the baseline.
        slices: Values by column that get metrics of their own.
        previous: The model version to evaluate on the same rows, if any.
    """
    import horovod.tensorflow as hvd

    spec = reader.spec
    exact = is_exact(spec, slices, reader.split.rows)
    evaluation = Evaluation(spec, label, slices, exact)
    previous_spec = previous.manifest.features if previous else None
    previous_evaluation = Evaluation(previous_spec, label, {}, exact) if previous_spec else None
    previous_model = _load_previous(previous) if previous else None
    inputs = [f.name for s in (spec, previous_spec) if s for f in s.inputs]
    columns = list(dict.fromkeys([*spec.key, *inputs, *slices, spec.label.name]))
    problem = ""
    rows, sample_outputs, kept = [], [], 0
    for batch in parts_of(reader.batches(reader.split.ranges(*reader.split.share(world)), columns), spec):
        reader.heartbeat()
        outputs = evaluation.add(model, batch)
        if previous_evaluation and previous_model and not problem:
            problem = problem_of(previous_evaluation, previous_model, batch)
        if kept < SAMPLE_ROWS:
            rows.append(batch)
            sample_outputs.append({name: value.numpy() for name, value in outputs.items()})
            kept += batch.num_rows
    parts = hvd.allgather_object((evaluation, previous_evaluation, problem))
    metrics = summarise([own for own, _, _ in parts])
    problem = next((other for _, _, other in parts if other), "")
    is_compared = previous_evaluation and not problem
    metrics["previous"] = summarise([other for _, other, _ in parts])["model"] if is_compared else None
    metrics["previous_problem"] = problem
    return metrics, (rows, sample_outputs)


def problem_of(previous: Evaluation, model: Model, batch: pa.RecordBatch) -> str:
    """Evaluate the version before on a batch; returns what is wrong with it, which must not stop the new model."""
    try:
        previous.add(model, batch)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def parts_of(batches: Iterator[pa.RecordBatch], spec: FeatureSpec) -> Iterator[pa.RecordBatch]:
    """Cut batches into parts for which hidden layers, and the probabilities of all classes, fit in memory."""
    rows = max(1, min(PART, MAX_PROBABILITIES // max(1, len(spec.label.classes))))
    for batch in batches:
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)


def _load_previous(version: ModelVersion) -> Model:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(checked_copy(version).folder))
    signature = loaded.signatures["serving_default"]

    def predict(inputs: dict[str, Any]) -> dict[str, Any]:
        _ = loaded  # keeps the variables alive; the signature does not
        return dict(signature(**inputs))

    return predict
