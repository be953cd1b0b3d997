"""The rows that ship in a model."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from millrace.features.spec import FeatureSpec
from millrace.models.warmup import FILE, decode_record
from tests.made_up import SCHEMA, things
from train.export.warmup import ROWS, write_warmup

pytestmark = pytest.mark.tf


@pytest.mark.parametrize("count", [1, 100])
def test_first_rows_and_their_answers(count: int, spec: FeatureSpec, tmp_path: Path) -> None:
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    rows = pa.Table.from_pylist(things(count), SCHEMA).to_batches()[0]
    answers = {"p": np.arange(count, dtype=np.float32), "class": np.array([b"\xff"] * count, object)}
    write_warmup(tmp_path, spec, rows, answers)
    (record,) = tf.data.TFRecordDataset(str(tmp_path / FILE)).as_numpy_iterator()
    golden = decode_record(record)
    assert golden
    kept = min(count, ROWS)
    for kind, tensors in (("inputs", golden.inputs), ("outputs", golden.outputs)):
        for name, data in tensors.items():
            values = tf.make_ndarray(tensor_pb2.TensorProto.FromString(data))
            assert len(values) == kept, (kind, name)
    assert set(golden.inputs) == {f.name for f in spec.inputs}
    found = tf.make_ndarray(tensor_pb2.TensorProto.FromString(golden.outputs["class"]))
    assert found.tolist() == [b"\xff"] * kept
