"""The Open Inference Protocol's information about models: metadata, and Triton's index, configuration, statistics.

Sources: KServe's ``docs/predict-api/v2/required_api.md``; Triton's ``docs/protocol/extension_model_repository.md``,
``extension_model_configuration.md`` and ``extension_statistics.md``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from serve.servables.signatures import Signature, TensorInfo
from serve.servables.statistics import Distribution, Statistics
from serve.values.document import dump_json

PLATFORM: Final = "tensorflow_savedmodel"
STATES: Final = {"AVAILABLE": "READY", "LOADING": "LOADING", "START": "UNAVAILABLE", "END": "UNAVAILABLE"}
"""Triton's state for each state of TensorFlow Serving."""


def encode_metadata(name: str, versions: Sequence[int], signature: Signature) -> bytes:
    """Write a model's metadata; -1 in a shape means any size."""
    return dump_json(
        {
            "name": name,
            "versions": [str(version) for version in versions],
            "platform": PLATFORM,
            "inputs": [info.as_dict() for info in signature.inputs.values()],
            "outputs": [info.as_dict() for info in signature.outputs.values()],
        }
    )


def encode_index(versions: Sequence[tuple[str, int | None, str, str]], *, ready_only: bool) -> bytes:
    """Write the index.

    Args:
        versions: Model, number, state of TensorFlow Serving, and why it cannot be loaded. The number is None for a
            model without a version, which is listed with an empty one.
        ready_only: Leave out the versions that are not loaded.
    """
    listed = [
        {"name": name, "version": "" if number is None else str(number), "state": STATES[state], "reason": reason}
        for name, number, state, reason in versions
        if not ready_only or STATES[state] == "READY"
    ]
    return dump_json(listed)


def encode_config(name: str, signature: Signature, max_batch: int) -> bytes:
    """Write a model's configuration. The shapes of batched tensors are without the first dimension, as in Triton."""
    is_batched = signature.is_batched and max_batch > 0

    def tensors(infos: Mapping[str, TensorInfo]) -> list[dict[str, Any]]:
        return [{"name": i.name, "data_type": _type_of(i), "dims": i.shown_shape[is_batched:]} for i in infos.values()]

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


def encode_statistics(versions: Sequence[tuple[str, int, Statistics]]) -> bytes:
    """Write the statistics of versions. Durations are sums in nanoseconds; there is no cache."""

    def duration(counted: Distribution) -> dict[str, int]:
        return {"count": counted.count, "ns": round(counted.total * 1e9)}

    listed = []
    for name, number, done in versions:
        inference = {
            "success": duration(done.succeeded),
            "fail": duration(done.failed),
            "queue": duration(done.queue),
            "compute_input": duration(done.decode),
            "compute_infer": duration(done.compute),
            "compute_output": duration(done.encode),
            "cache_hit": {"count": 0, "ns": 0},
            "cache_miss": {"count": 0, "ns": 0},
        }
        listed.append(
            {
                "name": name,
                "version": str(number),
                "inference_count": round(done.batch_rows.total),
                "execution_count": done.compute.count,
                "inference_stats": inference,
                "batch_stats": [],
            }
        )
    return dump_json({"model_stats": listed})


def _type_of(info: TensorInfo) -> str:
    return "TYPE_STRING" if info.dtype == "string" else f"TYPE_{info.datatype}"
