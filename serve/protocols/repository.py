"""Triton's extensions about models: the repository's index, and a model's configuration.

Sources: Triton's ``docs/protocol/extension_model_repository.md`` and ``extension_model_configuration.md``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from serve.protocols.document import dump_json
from serve.protocols.oip import PLATFORM
from serve.protocols.tensors import DATATYPES
from serve.signatures import Signature, TensorInfo

STATES: Final = {"AVAILABLE": "READY", "LOADING": "LOADING", "START": "UNAVAILABLE", "END": "UNAVAILABLE"}
"""Triton's word for each of TensorFlow Serving's."""


def encode_index(versions: Sequence[tuple[str, int, str, str]], *, ready_only: bool) -> bytes:
    """Write the index.

    Args:
        versions: Model, number, state in TensorFlow Serving's words, and why it cannot be loaded.
        ready_only: Leave out what does not answer.
    """
    listed = [
        {"name": name, "version": str(number), "state": STATES[state], "reason": reason}
        for name, number, state, reason in versions
        if not ready_only or STATES[state] == "READY"
    ]
    return dump_json(listed)


def encode_config(name: str, signature: Signature, max_batch: int) -> bytes:
    """Write a model's configuration; of batched tensors it leaves out the first dimension, as Triton does."""
    is_batched = signature.is_batched

    def tensors(infos: Mapping[str, TensorInfo]) -> list[dict[str, Any]]:
        return [
            {"name": i.name, "data_type": f"TYPE_{_word(i.dtype)}", "dims": list((i.shape or ())[is_batched:])}
            for i in infos.values()
        ]

    return dump_json(
        {
            "name": name,
            "platform": PLATFORM,
            "backend": "tensorflow",
            "max_batch_size": max_batch if is_batched else 0,
            "input": tensors(signature.inputs),
            "output": tensors(signature.outputs),
        }
    )


def _word(dtype: str) -> str:
    datatype = DATATYPES.get(dtype, dtype.upper())
    return "STRING" if datatype == "BYTES" else datatype
