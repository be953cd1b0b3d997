"""Keeps a few test rows and training's answers in the model, for servers to warm up by and to check themselves."""

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
    """Keep the first rows in a SavedModel's folder.

    Args:
        folder: The SavedModel.
        spec: What the inputs are.
        rows: Raw rows.
        outputs: The trainer's own answers to them, before the export: arrays by name.
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
