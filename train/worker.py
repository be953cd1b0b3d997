"""One Horovod rank: reads its share, fits the model in step with the others, judges it, and exports it on rank 0.

Runs in a process of its own that Horovod starts inside a Spark task. Imports no Spark.
"""

import faulthandler
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipelines.config.dotted import load_function
from pipelines.config.sections import Train
from pipelines.errors import ConfigError, DataRejected, MillraceError, StorageError
from pipelines.failpoints import fail_here
from pipelines.features import FeatureSpec
from pipelines.tables import DataFile
from train.callbacks import Judge, rank_callback
from train.encoding import CATEGORY, NUMERIC, build_preprocessing, describe
from train.evaluate import Evaluation, Model, summarise
from train.events import EventAddress, Teller
from train.export import SAMPLE, join_model, write_sample, write_saved_model
from train.plan import EpochPlan, SplitPlan, World
from train.rows import Array, Reader, ShardCache, epoch_batches
from train.statistics import LabelStatistics, Statistics

STEPS_PER_EXECUTION: Final = 16
"""Steps that TensorFlow makes between two returns to Python: 64k to 81k rows/s a rank on one core."""
SAMPLE_ROWS: Final = 1_000
"""Test rows whose answers are kept to be compared with the exported model's, the batch table's and the server's."""


@dataclass(frozen=True)
class WorkerArgs:
    """Everything that a rank is told; small, since it is sent to every rank.

    Attributes:
        train: The product's section.
        spec: Inputs, label, key.
        statistics: Of the train split.
        files: Data files by split.
        slices: Columns that are judged value by value.
        folder: Where rank 0 writes the SavedModel and the sample; every rank's machine need not see it.
        previous: Folder and feature spec of the version to compare with.
        events: Where to tell the driver; filled in when the ranks start.
    """

    train: Train
    spec: FeatureSpec
    statistics: Statistics
    files: dict[str, tuple[DataFile, ...]]
    slices: tuple[str, ...]
    folder: str
    previous: tuple[str, FeatureSpec] | None
    events: EventAddress | None = None


def train_rank(args: WorkerArgs) -> dict[str, Any] | None:
    """Do a rank's work; rank 0 returns metrics and times.

    An error is told to the driver first, and then ends the process: Horovod itself reports an exit code only, and the
    other ranks would wait for this one for ever.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    rank = int(os.environ.get("HOROVOD_RANK", "0"))
    if args.events is None:
        raise ValueError("a rank needs an address to report to")
    teller = Teller(args.events)
    try:
        return _train_rank(args, teller)
    except Exception as error:
        kind = next(
            (c.__name__ for c in (DataRejected, ConfigError, StorageError) if isinstance(error, c)),
            "bug",
        )
        hint = error.hint if isinstance(error, MillraceError) else ""
        teller.tell(
            "error",
            rank=rank,
            kind=kind,
            message=str(error),
            hint=hint,
            traceback=traceback.format_exc(),
        )
        raise
    finally:
        faulthandler.cancel_dump_traceback_later()


def watchdog(deadline_s: float) -> Callable[[], None]:
    """End this process, with every thread's stack on stderr, unless the returned function is called in time.

    Horovod's own stall check never ends a run whose rank hangs.
    """

    def alive() -> None:
        faulthandler.dump_traceback_later(deadline_s, exit=True, file=sys.stderr)

    alive()
    return alive


def _train_rank(args: WorkerArgs, teller: Teller) -> dict[str, Any] | None:
    alive = watchdog(args.train.deadline_s)
    started = time.monotonic()
    import horovod.tensorflow as hvd
    import keras
    import tensorflow as tf

    # One thread a rank: ranks share the machine's cores, and the same order of sums gives the same bits.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    hvd.init()
    alive()
    world = World(hvd.rank(), hvd.size())
    keras.utils.set_random_seed(args.train.seed)

    preprocessing = build_preprocessing(args.spec, args.statistics)
    builder = load_function(args.train.model)
    units = 1 if args.spec.label.task != "multiclass" else len(args.spec.label.classes)
    trunk = builder(describe(args.spec, args.statistics), units, args.train.options)
    readers = {split: Reader(SplitPlan(files), args.spec, preprocessing, alive) for split, files in args.files.items()}
    fit_started = time.monotonic()
    judge = fit(args, trunk, readers, Rank(world, alive, teller))
    fitted = time.monotonic()

    serve = join_model(args.spec, preprocessing, trunk, args.statistics.label)
    metrics, sample = judge_test(args, serve, readers["test"], world)
    fail_here("train.before_export", world.rank)
    if world.rank:
        return None
    write_saved_model(Path(args.folder, "model"), serve, preprocessing, trunk)
    write_sample(Path(args.folder, SAMPLE), *sample, limit=SAMPLE_ROWS)
    seconds = {
        "start": fit_started - started,
        "fit": fitted - fit_started,
        "judge_export": time.monotonic() - fitted,
    }
    return {
        **metrics,
        "best_epoch": judge.best_epoch,
        "best_loss": judge.best_loss,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }


@dataclass(frozen=True)
class Rank:
    """This process: its place in the world, its watchdog, its line to the driver."""

    world: World
    alive: Callable[[], None]
    teller: Teller


def fit(args: WorkerArgs, trunk: Any, readers: dict[str, Reader], rank: Rank) -> Judge:
    """Fit the trunk in step with the other ranks; it ends with the best epoch's weights."""
    import horovod.tensorflow as hvd

    train, world = args.train, rank.world
    budget = train.memory_budget_mb * 2**20
    cache = ShardCache(readers["train"], world, budget)
    held_out = ShardCache(readers["validation"], world, budget) if readers["validation"].split.rows else None
    plan = EpochPlan.of(readers["train"].split, train.batch_size)
    _compile(trunk, args, plan.steps)
    # Every rank starts from rank 0's weights: the same seed does not promise the same bits on different machines.
    for variable in trunk.variables:
        variable.assign(hvd.broadcast(variable.value, 0))

    current = {"epoch": 0}
    weights = class_weights(args.statistics.label) if train.class_weights else None

    def batches() -> Iterator[tuple[dict[str, Array], Array, Array]]:
        epoch = current["epoch"]
        for inputs, label, weight in epoch_batches(
            cache, plan, world, seed=train.seed, epoch=epoch, class_weights=weights
        ):
            yield inputs, _loss_label(label, args.spec, args.statistics.label), weight

    judge = Judge(lambda: validation_loss(trunk, held_out, args, rank), train.patience)
    callback = rank_callback(judge, rank.alive, lambda epoch: current.update(epoch=epoch), world, rank.teller)
    if world.rank == 0:
        rank.teller.tell(
            "fit",
            steps=plan.steps,
            epochs=train.epochs,
            rows=plan.split.rows,
            in_memory=cache.in_memory,
        )
    trunk.fit(_dataset(batches, args), epochs=train.epochs, callbacks=[callback], verbose=0)
    trunk.set_weights(judge.best_weights)
    return judge


def _compile(trunk: Any, args: WorkerArgs, steps: int) -> None:
    import keras

    from train.optimizer import synchronised_adam

    schedule = keras.optimizers.schedules.CosineDecay(args.train.learning_rate, args.train.epochs * steps)
    trunk.compile(
        optimizer=synchronised_adam(schedule),
        loss=_loss(args.spec),
        jit_compile=False,  # XLA has no kernel for Horovod's grouped reduction
        steps_per_execution=min(STEPS_PER_EXECUTION, steps),
    )


def _loss(spec: FeatureSpec, reduction: str = "sum") -> Any:
    import keras

    if spec.label.task == "binary":
        return keras.losses.BinaryCrossentropy(from_logits=True, reduction=reduction)
    if spec.label.task == "multiclass":
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
    return keras.losses.MeanSquaredError(reduction=reduction)


def _loss_label(label: Array, spec: FeatureSpec, statistics: LabelStatistics) -> Array:
    if spec.label.task == "multiclass":
        return label
    if spec.label.task == "binary":
        return label.astype(np.float32)
    return ((label - statistics.mean) / statistics.std).astype(np.float32)


def class_weights(label: LabelStatistics) -> Array:
    """Weights that give every class the same total: rows over classes times the class's rows."""
    counts = np.array([count for _, count in label.counts], float)
    weights: Array = (counts.sum() / (len(counts) * counts)).astype(np.float32)
    return weights


def _dataset(batches: Callable[[], Iterator[Any]], args: WorkerArgs) -> Any:
    import tensorflow as tf

    encoding = describe(args.spec, args.statistics)
    label = tf.int32 if args.spec.label.task == "multiclass" else tf.float32
    signature = (
        {
            NUMERIC: tf.TensorSpec((None, encoding.numeric), tf.float32),
            CATEGORY: tf.TensorSpec((None, len(encoding.categories)), tf.int32),
        },
        tf.TensorSpec((None, 1), label),
        tf.TensorSpec((None,), tf.float32),
    )
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(1)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.autotune.enabled = False
    return dataset.with_options(options)


def validation_loss(trunk: Any, held_out: ShardCache | None, args: WorkerArgs, rank: Rank) -> float | None:
    """Mean loss over the validation rows of all ranks."""
    if held_out is None:
        return None
    import horovod.tensorflow as hvd
    import tensorflow as tf

    loss, total, rows = _loss(args.spec), 0.0, 0
    for part in held_out.in_order(rank.world):
        rank.alive()
        label = _loss_label(part.label[:, None], args.spec, args.statistics.label)
        known = part.label >= 0 if args.spec.label.task != "regression" else np.ones(len(part), bool)
        scores = trunk({NUMERIC: part.numeric[known], CATEGORY: part.category[known]}, training=False)
        total += float(loss(label[known], scores))
        rows += int(known.sum())
    both = hvd.allreduce(tf.constant([total, float(rows)], tf.float64), op=hvd.Sum).numpy()
    return float(both[0] / both[1]) if both[1] else None


def judge_test(
    args: WorkerArgs, serve: Model, reader: Reader, world: World
) -> tuple[dict[str, Any], tuple[list[Any], list[Any]]]:
    """Metrics over all ranks' test rows, and this rank's first raw rows with their answers."""
    import horovod.tensorflow as hvd

    label = args.statistics.label
    mine = Evaluation(args.spec, label, args.slices)
    before = Evaluation(args.previous[1], label, ()) if args.previous else None
    previous = _load_previous(args.previous[0]) if args.previous else None
    inputs = [f.name for f in args.spec.inputs] + ([f.name for f in args.previous[1].inputs] if args.previous else [])
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


def _load_previous(folder: str) -> Model:
    import tensorflow as tf

    loaded = tf.saved_model.load(folder)
    signature = loaded.signatures["serving_default"]

    def ask(inputs: dict[str, Any]) -> dict[str, Any]:
        _ = loaded  # the signature does not keep its variables alive
        return dict(signature(**inputs))

    return ask
