"""Compares a model's predictions with those in its warm-up file; see `millrace.models.warmup`."""

import itertools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from millrace.models.manifest import ModelDamaged
from millrace.models.warmup import FILE, MAX_RECORDS, decode_record
from serve.servables.servable import Arrays

logger = logging.getLogger(__name__)

TOLERANCE: Final = 1e-4
"""Relative to the value, at least 1. Processors sum in different orders; broken models differ by far more."""


@dataclass(frozen=True)
class GoldenArrays:
    """A request of a model's warm-up file.

    Attributes:
        signature: The name of the signature; empty for the default.
        inputs: The inputs.
        outputs: The expected outputs; empty if the file has none.
    """

    signature: str
    inputs: Arrays
    outputs: Arrays


def read_golden(folder: Path, *, strict: bool = True) -> list[GoldenArrays]:
    """The requests of a SavedModel's warm-up file; none if it has no such file.

    Args:
        folder: The SavedModel.
        strict: Whether a file that cannot be read is an error, or is only logged.

    Raises:
        ModelDamaged: The file cannot be read.
    """
    import tensorflow as tf

    path = folder / FILE
    if not path.is_file():
        return []
    try:
        records = itertools.islice(tf.data.TFRecordDataset(str(path)).as_numpy_iterator(), MAX_RECORDS)
        golden = [decode_record(record) for record in records]
        return [
            GoldenArrays(one.signature, _arrays(one.inputs), _arrays(one.outputs)) for one in golden if one is not None
        ]
    except (ValueError, TypeError, tf.errors.OpError) as error:
        reason = f"{FILE} cannot be read: {str(error)[:200]}"
        if strict:
            raise ModelDamaged(f"{folder.parent.name}/{folder.name}", reason) from error
        logger.warning("%s: %s", folder, reason)
        return []


def difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """The first difference between found and expected outputs as text; empty if there is none.

    Only floats are compared: the class of a row at the threshold may be either one.
    """
    for name, wanted in expected.items():
        if name not in found:
            return f"there is no output '{name}'"
        values = found[name]
        if values.shape != wanted.shape:
            return f"output '{name}' has shape {list(values.shape)}, not {list(wanted.shape)}"
        if wanted.dtype.kind != "f":
            continue
        off = ~(np.abs(values - wanted) <= TOLERANCE * np.maximum(1, np.abs(wanted)))
        if off.any():
            at = tuple(int(index) for index in np.argwhere(off)[0])
            return f"output '{name}' at {list(at)} is {values[at]:.6g}, not {wanted[at]:.6g}"
    return ""


def _arrays(tensors: Mapping[str, bytes]) -> Arrays:
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework import tensor_pb2

    try:
        return {name: tf.make_ndarray(tensor_pb2.TensorProto.FromString(data)) for name, data in tensors.items()}
    except DecodeError as error:
        raise ValueError("it has no tensors") from error
