"""The training loop of one rank: Keras' ``fit`` on the trunk, in step with the other ranks."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from millrace.features.spec import FeatureSpec
from train.data.cache import ShardCache, epoch_batches
from train.data.plan import EpochPlan
from train.data.rows import Array, Reader
from train.loop.callbacks import rank_callback
from train.loop.early_stopping import EarlyStopping
from train.preprocessing.layers import CATEGORY, NUMERIC, describe
from train.preprocessing.statistics import LabelStatistics
from train.rank import Rank, WorkerArgs

STEPS_PER_EXECUTION: Final = 16
"""Steps that TensorFlow makes between two returns to Python: 64k to 81k rows/s a rank on one core."""


def fit(args: WorkerArgs, trunk: Any, readers: dict[str, Reader], rank: Rank) -> EarlyStopping:
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

    judge = EarlyStopping(lambda: validation_loss(trunk, held_out, args, rank), train.patience)
    callback = rank_callback(judge, rank.heartbeat, lambda epoch: current.update(epoch=epoch), world, rank.sender)
    if world.rank == 0:
        rank.sender.send(
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

    from train.loop.optimizer import synchronised_adam

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
        rank.heartbeat()
        label = _loss_label(part.label[:, None], args.spec, args.statistics.label)
        known = part.label >= 0 if args.spec.label.task != "regression" else np.ones(len(part), bool)
        scores = trunk({NUMERIC: part.numeric[known], CATEGORY: part.category[known]}, training=False)
        total += float(loss(label[known], scores))
        rows += int(known.sum())
    both = hvd.allreduce(tf.constant([total, float(rows)], tf.float64), op=hvd.Sum).numpy()
    return float(both[0] / both[1]) if both[1] else None
