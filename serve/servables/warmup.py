"""Whether a model answers the rows that it ships as it did when it was trained; see `millrace.models.warmup`."""

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
"""Of an answer's size, at least 1: other processors sum in another order, broken models miss by far more."""


@dataclass(frozen=True)
class GoldenArrays:
    """A request that a model ships.

    Attributes:
        signature: Which function is asked; empty for the default.
        inputs: What is asked.
        outputs: The right answer; empty if none is known.
    """

    signature: str
    inputs: Arrays
    outputs: Arrays


def read_golden(folder: Path, *, strict: bool = True) -> list[GoldenArrays]:
    """What a SavedModel ships; nothing if it has no such file.

    Args:
        folder: The SavedModel.
        strict: Whether a file that cannot be read condemns the model, or is only told.

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
    """How answers differ from those expected, in a few words; empty if they do not.

    Only numbers are compared: the class of a row on the threshold may be either.
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
        raise ValueError("it holds no tensors") from error
