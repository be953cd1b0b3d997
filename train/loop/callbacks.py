"""The Keras callback of a rank: watchdog, comparison of the ranks, validation, early stopping, events."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from millrace.failpoints import fail_here
from train.errors import Diverged, RankFailed
from train.loop.early_stopping import EarlyStopping
from train.rank import Rank


def weights_digest(model: Any) -> str:
    """SHA-256 of all variables of a model and of its optimizer."""
    digest = hashlib.sha256()
    for variable in [*model.variables, *model.optimizer.variables]:
        digest.update(np.ascontiguousarray(variable.value.numpy()).tobytes())
    return digest.hexdigest()


def rank_callback(
    early_stopping: EarlyStopping,
    begin_epoch: Callable[[int], None],
    this_rank: Rank,
) -> Any:
    """Build the Keras callback; Keras and Horovod are imported only here, in the rank.

    Args:
        early_stopping: Computes the validation loss, keeps the best weights and decides when to stop.
        begin_epoch: Called with the number of each epoch, from 0, before its first batch.
        this_rank: Of this process.
    """
    import horovod.tensorflow as hvd
    import keras

    rank, size = this_rank.world.rank, this_rank.world.size

    class RankCallback(keras.callbacks.Callback):  # type: ignore[misc] # keras has no types
        """Has collective operations, so every rank must use it."""

        def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            fail_here("train.before_epoch", rank)
            begin_epoch(epoch)

        def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
            fail_here("train.before_batch", rank)
            this_rank.heartbeat()

        def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
            this_rank.heartbeat()
            if rank == 0:
                this_rank.sender.send("step", step=batch + 1)

        def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            this_rank.heartbeat()
            report = {
                "rank": rank,
                "digest": weights_digest(self.model),
                "loss": float((logs or {})["loss"]),
            }
            reports = hvd.allgather_object(report)
            check_agreement(reports, epoch + 1)
            training_loss = sum(report["loss"] for report in reports) / size
            validation_loss = early_stopping.validate()
            loss = training_loss if validation_loss is None else validation_loss
            if not np.isfinite(loss):
                kind = "training" if validation_loss is None else "validation"
                raise Diverged(f"the {kind} loss is {loss}", epoch + 1)
            self.model.stop_training = not early_stopping.update(self.model, epoch + 1, loss)
            if rank == 0:
                this_rank.sender.send(
                    "epoch",
                    epoch=epoch + 1,
                    loss=training_loss,
                    val_loss=validation_loss,
                    best_epoch=early_stopping.best_epoch,
                )

    return RankCallback()


def check_agreement(reports: list[dict[str, Any]], epoch: int) -> None:
    """Check after an epoch that all ranks have the same weights and a finite loss.

    Raises:
        RankFailed: The weights are not bit-identical: gradients were not averaged, or the model has state that differs
            between ranks, or memory is faulty.
        Diverged: A rank's loss is not finite.
    """
    not_finite = [report for report in reports if not np.isfinite(report["loss"])]
    if not_finite:
        raise Diverged(f"the training loss is {not_finite[0]['loss']} on rank {not_finite[0]['rank']}", epoch)
    different = [report for report in reports if report["digest"] != reports[0]["digest"]]
    if different:
        raise RankFailed(different[0]["rank"], f"its weights differ from rank 0's after epoch {epoch}")
