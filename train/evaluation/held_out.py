"""Judges the trained model and the previous version on the test split, every rank on its rows."""

from typing import Any, Final

from millrace.models.files import checked_copy
from millrace.models.manifest import ModelVersion
from train.data.rows import Reader
from train.evaluation.evaluate import Evaluation, Model, summarise
from train.rank import WorkerArgs
from train.world import World

SAMPLE_ROWS: Final = 1_000
"""Test rows whose answers are kept to be compared with the exported model's, the batch table's and the server's."""


def judge_test(
    args: WorkerArgs, serve: Model, reader: Reader, world: World
) -> tuple[dict[str, Any], tuple[list[Any], list[Any]]]:
    """Metrics over all ranks' test rows, and this rank's first raw rows with their answers."""
    import horovod.tensorflow as hvd

    label = args.statistics.label
    mine = Evaluation(args.spec, label, args.slices)
    old = args.previous.manifest.features if args.previous else None
    before = Evaluation(old, label, ()) if old else None
    previous = _load_previous(args.previous) if args.previous else None
    inputs = [f.name for spec in (args.spec, old) if spec for f in spec.inputs]
    columns = list(dict.fromkeys([*args.spec.key, *inputs, *args.slices, args.spec.label.name]))
    rows, answers, kept = [], [], 0
    for batch in reader.batches(reader.split.ranges(*reader.split.share(world)), columns):
        outputs = mine.add(serve, batch)
        if before and previous:
            before.add(previous, batch)
        if kept < SAMPLE_ROWS:
            rows.append(batch)
            answers.append({name: value.numpy() for name, value in outputs.items()})
            kept += batch.num_rows
    everyone = hvd.allgather_object((mine, before))
    metrics = summarise([part[0] for part in everyone])
    metrics["previous"] = summarise([part[1] for part in everyone])["model"] if before else None
    return metrics, (rows, answers)


def _load_previous(version: ModelVersion) -> Model:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(checked_copy(version).folder))
    signature = loaded.signatures["serving_default"]

    def ask(inputs: dict[str, Any]) -> dict[str, Any]:
        _ = loaded  # the signature does not keep its variables alive
        return dict(signature(**inputs))

    return ask
