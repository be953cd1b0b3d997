"""Writes a few test rows and their outputs into the model; a server uses them to warm up and to check the model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from millrace.features.encoding import encode
from millrace.features.spec import FeatureSpec
from millrace.models.warmup import FILE, Golden, encode_record
from train.data.tensors import to_tensor

ROWS: Final = 64


def write_warmup(folder: Path, spec: FeatureSpec, rows: pa.RecordBatch, outputs: Mapping[str, Any]) -> None:
    """Write the first rows and their outputs into the folder of a SavedModel.

    Args:
        folder: Of the SavedModel.
        spec: Inputs of the model.
        rows: Raw rows.
        outputs: Outputs of the trained model for these rows: arrays by name.
    """
    import tensorflow as tf

    def as_bytes(tensor: Any) -> bytes:
        return bytes(tf.make_tensor_proto(tensor).SerializeToString())

    inputs = {f.name: as_bytes(to_tensor(encode(rows.column(f.name)[:ROWS], f)).numpy()) for f in spec.inputs}
    tensors = {name: as_bytes(values[:ROWS]) for name, values in outputs.items()}
    path = folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(encode_record(Golden("serving_default", inputs, tensors)))
