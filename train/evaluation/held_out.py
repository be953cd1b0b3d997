"""Evaluates the trained model and the previous version on the test split; each rank reads its own rows."""

from typing import Any, Final

from millrace.models.files import checked_copy
from millrace.models.manifest import ModelVersion
from train.data.rows import Reader
from train.evaluation.evaluate import Evaluation, Model, summarise
from train.evaluation.slices import Slices
from train.preprocessing.statistics import LabelStatistics
from train.world import World

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
    evaluation = Evaluation(spec, label, slices)
    previous_spec = previous.manifest.features if previous else None
    previous_evaluation = Evaluation(previous_spec, label, {}) if previous_spec else None
    previous_model = _load_previous(previous) if previous else None
    inputs = [f.name for s in (spec, previous_spec) if s for f in s.inputs]
    columns = list(dict.fromkeys([*spec.key, *inputs, *slices, spec.label.name]))
    rows, sample_outputs, kept = [], [], 0
    for batch in reader.batches(reader.split.ranges(*reader.split.share(world)), columns):
        outputs = evaluation.add(model, batch)
        if previous_evaluation and previous_model:
            previous_evaluation.add(previous_model, batch)
        if kept < SAMPLE_ROWS:
            rows.append(batch)
            sample_outputs.append({name: value.numpy() for name, value in outputs.items()})
            kept += batch.num_rows
    parts = hvd.allgather_object((evaluation, previous_evaluation))
    metrics = summarise([own for own, _ in parts])
    metrics["previous"] = summarise([other for _, other in parts])["model"] if previous_evaluation else None
    return metrics, (rows, sample_outputs)


def _load_previous(version: ModelVersion) -> Model:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(checked_copy(version).folder))
    signature = loaded.signatures["serving_default"]

    def predict(inputs: dict[str, Any]) -> dict[str, Any]:
        _ = loaded  # keeps the variables alive; the signature does not
        return dict(signature(**inputs))

    return predict
