"""The training loop of one rank: Keras' ``fit``, synchronised with the other ranks."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from millrace.config.sections.train import Train
from millrace.features.spec import FeatureSpec
from train.data.cache import ShardCache, epoch_batches
from train.data.plan import EpochPlan
from train.data.rows import Array, Reader
from train.loop.callbacks import rank_callback
from train.loop.early_stopping import EarlyStopping
from train.loop.target import Target
from train.preprocessing.layers import CATEGORY, NUMERIC, Encoding, describe
from train.preprocessing.statistics import LabelStatistics, Statistics
from train.rank import Rank

STEPS_PER_EXECUTION: Final = 16
"""Steps that TensorFlow runs between two callbacks to Python; 64,000 to 81,000 rows/s per rank on one core."""

Batch = tuple[dict[str, Array], Array, Array]
"""Inputs by name, labels as the loss takes them, weights."""


def fit(
    trunk: Any, readers: dict[str, Reader], rank: Rank, train: Train, spec: FeatureSpec, statistics: Statistics
) -> EarlyStopping:
    """Fit the trunk together with the other ranks; at the end it has the weights of the best epoch.

    Args:
        trunk: The Keras model from encoded inputs to scores.
        readers: Rows by split; ``train`` and ``validation`` are read.
        rank: This rank.
        train: The section ``train`` of the product file.
        spec: Inputs and label.
        statistics: Of the train split.
    """
    budget = train.memory_budget_mb * 2**20
    cache = ShardCache(readers["train"], rank.world, budget)
    validation = ShardCache(readers["validation"], rank.world, budget) if readers["validation"].split.rows else None
    plan = EpochPlan.of(readers["train"].split, train.batch_size)
    target = Target(spec.label.task, statistics.label)
    _compile(trunk, train, target, plan.steps)
    _broadcast_weights(trunk)

    current = {"epoch": 0}
    weights = class_weights(statistics.label) if train.class_weights else None

    def batches() -> Iterator[Batch]:
        for inputs, label, weight in epoch_batches(
            cache, plan, rank.world, seed=train.seed, epoch=current["epoch"], class_weights=weights
        ):
            yield inputs, target.convert(label), weight

    early_stopping = EarlyStopping(lambda: validation_loss(trunk, validation, target, rank), train.patience)
    callback = rank_callback(early_stopping, lambda epoch: current.update(epoch=epoch), rank)
    if rank.world.rank == 0:
        rank.sender.send("fit", steps=plan.steps, epochs=train.epochs, rows=plan.split.rows, in_memory=cache.in_memory)
    dataset = _dataset(batches, describe(spec, statistics), target)
    trunk.fit(dataset, epochs=train.epochs, callbacks=[callback], verbose=0)
    trunk.set_weights(early_stopping.best_weights)
    return early_stopping


def _compile(trunk: Any, train: Train, target: Target, steps: int) -> None:
    import keras

    from train.loop.optimizer import synchronised_adam

    schedule = keras.optimizers.schedules.CosineDecay(train.learning_rate, train.epochs * steps)
    trunk.compile(
        optimizer=synchronised_adam(schedule),
        loss=target.loss(),
        jit_compile=False,  # XLA has no kernel for Horovod's grouped reduction
        steps_per_execution=min(STEPS_PER_EXECUTION, steps),
    )


def _broadcast_weights(trunk: Any) -> None:
    """Start from rank 0's weights: the same seed may give different bits on different machines."""
    import horovod.tensorflow as hvd

    for variable in trunk.variables:
        variable.assign(hvd.broadcast(variable.value, 0))


def class_weights(label: LabelStatistics) -> Array:
    """Class weights with which every class has the same total weight: rows / (classes * rows of the class)."""
    counts = np.array([count for _, count in label.counts], float)
    weights: Array = (counts.sum() / (len(counts) * counts)).astype(np.float32)
    return weights


def _dataset(batches: Callable[[], Iterator[Batch]], encoding: Encoding, target: Target) -> Any:
    import tensorflow as tf

    signature = (
        {
            NUMERIC: tf.TensorSpec((None, encoding.numeric), tf.float32),
            CATEGORY: tf.TensorSpec((None, len(encoding.categories)), tf.int32),
        },
        tf.TensorSpec((None, 1), target.dtype),
        tf.TensorSpec((None,), tf.float32),
    )
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(1)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.autotune.enabled = False
    return dataset.with_options(options)


def validation_loss(trunk: Any, validation: ShardCache | None, target: Target, rank: Rank) -> float | None:
    """Mean loss over the validation rows of all ranks; None if there are none."""
    if validation is None:
        return None
    import horovod.tensorflow as hvd
    import tensorflow as tf

    loss, total, rows = target.loss(), 0.0, 0
    for part in validation.in_order(rank.world):
        rank.heartbeat()
        known = target.known(part.label)
        scores = trunk({NUMERIC: part.numeric[known], CATEGORY: part.category[known]}, training=False)
        total += float(loss(target.convert(part.label[known][:, None]), scores))
        rows += int(known.sum())
    summed = hvd.allreduce(tf.constant([total, float(rows)], tf.float64), op=hvd.Sum).numpy()
    return float(summed[0] / summed[1]) if summed[1] else None
