"""What happens in every rank around batches and epochs: watchdog, agreement, validation, the best epoch."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from millrace.failpoints import fail_here
from train.errors import Diverged, RankFailed
from train.events import EventSender
from train.loop.early_stopping import EarlyStopping
from train.world import World


def weights_digest(model: Any) -> str:
    """SHA-256 over all variables of a model and its optimizer."""
    digest = hashlib.sha256()
    for variable in [*model.variables, *model.optimizer.variables]:
        digest.update(np.ascontiguousarray(variable.value.numpy()).tobytes())
    return digest.hexdigest()


def rank_callback(
    judge: EarlyStopping,
    heartbeat: Callable[[], None],
    begin_epoch: Callable[[int], None],
    world: World,
    sender: EventSender,
) -> Any:
    """Build the Keras callback; Keras and Horovod are imported here, in the rank."""
    import horovod.tensorflow as hvd
    import keras

    rank, size = world.rank, world.size

    class RankCallback(keras.callbacks.Callback):  # type: ignore[misc] # keras has no types
        """Runs on every rank, in step with the others."""

        def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            fail_here("train.before_epoch", rank)
            begin_epoch(epoch)

        def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
            fail_here("train.before_batch", rank)
            heartbeat()

        def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
            heartbeat()
            if rank == 0:
                sender.send("step", step=batch + 1)

        def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            heartbeat()
            mine = {
                "rank": rank,
                "digest": weights_digest(self.model),
                "loss": float((logs or {})["loss"]),
            }
            everyone = hvd.allgather_object(mine)
            check_agreement(everyone, epoch + 1)
            training_loss = sum(part["loss"] for part in everyone) / size
            validation_loss = judge.validate()
            loss = training_loss if validation_loss is None else validation_loss
            if not np.isfinite(loss):
                raise Diverged(f"the loss that decides is {loss}", epoch + 1)
            go_on = judge.judge(self.model, epoch + 1, loss)
            if rank == 0:
                sender.send(
                    "epoch",
                    epoch=epoch + 1,
                    loss=training_loss,
                    val_loss=validation_loss,
                    best_epoch=judge.best_epoch,
                )
            self.model.stop_training = not go_on

    return RankCallback()


def check_agreement(everyone: list[dict[str, Any]], epoch: int) -> None:
    """Stop where the ranks' weights differ, or a loss is not finite.

    Raises:
        RankFailed: The weights are not bit-identical: gradients were not averaged, or memory is faulty.
        Diverged: A rank's loss is not finite.
    """
    bad = [part for part in everyone if not np.isfinite(part["loss"])]
    if bad:
        raise Diverged(f"the training loss is {bad[0]['loss']} on rank {bad[0]['rank']}", epoch)
    odd = [part for part in everyone if part["digest"] != everyone[0]["digest"]]
    if odd:
        raise RankFailed(odd[0]["rank"], f"its weights differ from rank 0's after epoch {epoch}")
