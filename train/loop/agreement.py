"""What the ranks compare after an epoch: all must have the same weights."""

import hashlib
from typing import Any

import numpy as np

from train.errors import RankRaised


def digest_of_variable(variable: Any) -> str:
    """SHA-256 of the value of a variable."""
    return hashlib.sha256(np.ascontiguousarray(variable.value.numpy()).tobytes()).hexdigest()


def average_state(trunk: Any) -> None:
    """Average over the ranks the floating-point state that is not trained, such as a BatchNormalization's statistics.

    Each rank computes such a state from its own rows. Variables that are equal on all ranks, such as frozen weights,
    are left as they are: the mean of several equal values may differ in its last bit.
    """
    import horovod.tensorflow as hvd

    state = [v for v in trunk.non_trainable_variables if np.issubdtype(v.dtype, np.floating)]
    if not state:
        return
    digests = hvd.allgather_object([digest_of_variable(variable) for variable in state])
    for variable, found in zip(state, zip(*digests, strict=True), strict=True):
        if len(set(found)) > 1:
            variable.assign(hvd.allreduce(variable.value, op=hvd.Average))


def check_agreement(trunk: Any, optimizer: Any, epoch: int) -> None:
    """Compare the variables of all ranks, bit for bit.

    Raises:
        RankRaised: A variable differs: the trunk changes it in another way on each rank, or memory is faulty.
    """
    import horovod.tensorflow as hvd

    variables = [v for v in (*trunk.variables, *optimizer.variables) if "seed_generator_state" not in v.path]
    compare_digests(hvd.allgather_object([(v.path, digest_of_variable(v)) for v in variables]), epoch)


def compare_digests(digests: list[list[tuple[str, str]]], epoch: int) -> None:
    """Compare the names and digests of the variables of all ranks; raises `RankRaised` for the first that differs."""
    for number, (name, digest) in enumerate(digests[0]):
        for rank, others in enumerate(digests):
            if others[number] != (name, digest):
                raise RankRaised(
                    rank,
                    f"variable '{name}' differs from rank 0's after epoch {epoch}",
                    hint="the trunk changes it in another way on each rank; only state that is not trained may differ",
                )
