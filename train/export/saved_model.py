"""Joins preprocessing and trunk to one graph and writes it as a SavedModel."""

from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from millrace.features.spec import FeatureSpec
from train.data.target import THRESHOLD, Target
from train.preprocessing.statistics import LabelStatistics

SAMPLE: Final = "sample.parquet"
"""File with test rows and the outputs of the trained model."""


def output_dtypes(spec: FeatureSpec) -> dict[str, str]:
    """Data type of each output of ``serving_default``."""
    if spec.label.task == "regression":
        return {"prediction": "float64"}
    classes = "string" if isinstance(spec.label.classes[0], str) else "int64"
    name = "probability" if spec.label.task == "binary" else "probabilities"
    return {name: "float32", "class": classes}


def join_model(spec: FeatureSpec, preprocessing: Any, trunk: Any, label: LabelStatistics) -> Any:
    """Build a `tf.function` from raw inputs by name, each of shape (n,), to named outputs.

    Binary: ``probability`` of the second class (n,), and ``class`` (n,). Multi-class: ``probabilities`` (n, classes),
    and ``class`` (n,). Regression: ``prediction`` (n,).
    """
    import tensorflow as tf

    signature = {f.name: tf.TensorSpec((None,), f.tensor_dtype, name=f.name) for f in spec.inputs}

    @tf.function(input_signature=[signature])  # type: ignore[untyped-decorator] # tensorflow has no types
    def serve(inputs: dict[str, Any]) -> dict[str, Any]:
        scores = trunk(preprocessing(inputs), training=False)
        if spec.label.task == "regression":
            return {"prediction": Target(spec.label, label).values(tf.cast(scores[:, 0], tf.float64))}
        classes = tf.constant(
            list(spec.label.classes),
            tf.string if isinstance(spec.label.classes[0], str) else tf.int64,
        )
        if spec.label.task == "binary":
            probability = tf.sigmoid(scores[:, 0])
            return {
                "probability": probability,
                "class": tf.gather(classes, tf.cast(probability >= THRESHOLD, tf.int32)),
            }
        probabilities = tf.nn.softmax(scores)
        return {"probabilities": probabilities, "class": tf.gather(classes, tf.argmax(probabilities, axis=1))}

    return serve


def write_saved_model(folder: Path, serve: Any, *layers: Any) -> None:
    """Write a SavedModel in the layout of TensorFlow Serving.

    Args:
        folder: Must not exist yet.
        serve: The function for the signature ``serving_default``.
        layers: Keras models that contain the variables and lookup tables of `serve`.
    """
    from keras.export import ExportArchive

    archive = ExportArchive()
    for layer in layers:
        archive.track(layer)
    archive.add_endpoint("serving_default", serve)
    archive.write_out(str(folder), verbose=False)


def write_sample(path: Path, rows: list[pa.RecordBatch], outputs: list[dict[str, Any]], limit: int) -> None:
    """Write raw test rows with the outputs of the trained model, as columns ``output.<name>``."""
    table = pa.Table.from_batches(rows)
    for name in outputs[0]:
        parts = [pa.array(list(part[name]) if part[name].ndim > 1 else part[name]) for part in outputs]
        column = pa.chunked_array(parts)
        column = column.cast(pa.string()) if pa.types.is_binary(column.type) else column
        table = table.append_column(f"output.{name}", column)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.slice(0, limit), path)
