"""The training loop of one rank, which takes every step together with the other ranks."""

import contextlib
from typing import Any, Final

import numpy as np

from millrace.config.sections.train import Train
from millrace.failpoints import fail_here
from millrace.features.spec import FeatureSpec
from train.data.cache import RankRows
from train.data.plan import EpochPlan
from train.data.rows import Array, Reader
from train.data.target import Target
from train.data.tensors import is_known
from train.errors import Diverged
from train.loop.agreement import average_state, check_agreement
from train.loop.batches import Batches
from train.loop.early_stopping import EarlyStopping
from train.loop.schedule import Schedule
from train.loop.steps import Steps
from train.preprocessing.layers import CATEGORY, NUMERIC
from train.preprocessing.statistics import LabelStatistics, Statistics
from train.rank import Rank

EXTREME_VALUES: Final = "look for extreme values in the inputs of the validation split, or lower train.learning_rate"
STEPS_AT_ONCE: Final = 16
"""Steps that TensorFlow takes before it returns to Python; 64,000 to 81,000 rows/s per rank on one core."""


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

    Raises:
        Diverged: The loss of a step, or of the validation rows, is not finite.
        RankRaised: The ranks have different weights.
    """
    budget = train.memory_budget_mb * 2**20
    with contextlib.ExitStack() as stack:
        rows, validation = (
            stack.enter_context(RankRows(readers[split], rank.world, budget)) for split in ("train", "validation")
        )
        return _fit(trunk, rows, validation, rank, train, Target(spec.label, statistics.label))


def _fit(trunk: Any, rows: RankRows, validation: RankRows, rank: Rank, train: Train, target: Target) -> EarlyStopping:
    import keras

    schedule = Schedule.of(train, rows.split.rows, target.statistics)
    plan = EpochPlan.of(rows.split, schedule.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(train.learning_rate, schedule.epochs * plan.steps)
    steps = Steps(trunk, target, keras.optimizers.Adam(rate))
    broadcast_weights(trunk)
    weights = class_weights(target.statistics) if train.class_weights else None
    batches = Batches(rows, plan, target, train.seed, schedule.epochs, weights)
    early_stopping = EarlyStopping(schedule.patience)
    iterator = iter(batches.dataset())
    for epoch in range(1, schedule.epochs + 1):
        fail_here("train.before_epoch", rank.world.rank)
        loss = _run_epoch(steps, batches, iterator, rank, epoch)
        average_state(trunk)
        check_agreement(trunk, steps.optimizer, epoch)
        validated = validation_loss(trunk, validation, target, rank, weights)
        if validated is not None and not np.isfinite(validated):
            raise Diverged(f"the validation loss is {validated}", epoch, hint=EXTREME_VALUES)
        goes_on = early_stopping.update(trunk, epoch, loss if validated is None else validated)
        if rank.world.rank == 0:
            rank.sender.send("epoch", epoch=epoch, loss=loss, val_loss=validated, best_epoch=early_stopping.best_epoch)
        if not goes_on:
            break
    trunk.set_weights(early_stopping.best_weights)
    return early_stopping


def _run_epoch(steps: Steps, batches: Batches, iterator: Any, rank: Rank, epoch: int) -> float:
    """Take the steps of an epoch; returns the mean loss over the rows of all ranks."""
    taken, count = [], batches.plan.steps
    for start in range(0, count, STEPS_AT_ONCE):
        fail_here("train.before_batch", rank.world.rank)
        rank.heartbeat()
        stop = min(start + STEPS_AT_ONCE, count)
        with batches.errors_of_reading():
            losses, rows = steps.take(iterator, stop - start)
        if not np.isfinite(losses).all():
            first = int(np.argmin(np.isfinite(losses)))
            raise Diverged(f"the training loss is {losses[first]} in step {start + first + 1} of {count}", epoch)
        taken.append((losses * rows, rows))
        if rank.world.rank == 0:
            rank.sender.send("step", step=stop)
    rank.heartbeat()
    summed, rows = np.concatenate(taken, axis=1)
    return float(summed.sum() / max(1, rows.sum()))


def broadcast_weights(trunk: Any) -> None:
    """Start from rank 0's weights: the same seed may give different bits on different machines.

    Only the states of random generators differ: Dropout would drop the same units in the n-th row of each rank.
    """
    import horovod.tensorflow as hvd

    for variable in trunk.variables:
        variable.assign(hvd.broadcast(variable.value, 0))
        if "seed_generator_state" in variable.path:  # each rank's own random numbers, such as those of Dropout
            variable.assign(variable.value + hvd.rank())


def class_weights(label: LabelStatistics) -> Array:
    """Class weights with which every class has the same total weight: rows / (classes * rows of the class)."""
    counts = np.array([count for _, count in label.counts], float)
    weights: Array = (counts.sum() / (len(counts) * counts)).astype(np.float32)
    return weights


def validation_loss(
    trunk: Any, validation: RankRows, target: Target, rank: Rank, weights: Array | None
) -> float | None:
    """Mean of weight * loss over the validation rows of all ranks whose label is known; None if there are none.

    The weights of classes are those of the training loss: otherwise the best epoch would be one for frequent classes.
    """
    if not validation.split.rows:
        return None
    import horovod.tensorflow as hvd
    import tensorflow as tf

    loss, total, rows = target.loss(), 0.0, 0
    for part in validation.in_order():
        rank.heartbeat()
        known = is_known(part.label)
        if not known.any():
            continue
        label = part.label[known]
        scores = trunk({NUMERIC: part.numeric[known], CATEGORY: part.category[known]}, training=False)
        weight = None if weights is None else weights[label]
        total += float(loss(target.convert(label[:, None]), scores, sample_weight=weight))
        rows += int(known.sum())
    summed = hvd.allreduce(tf.constant([total, float(rows)], tf.float64), op=hvd.Sum).numpy()
    return float(summed[0] / summed[1]) if summed[1] else None
