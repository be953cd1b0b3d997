"""Tiny real models: exported once per run, published through the model store."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from millrace.config.sections.serve import ServedModel
from millrace.features.encoding import INT64_MIN
from millrace.features.spec import Category, Cyclic, Feature, FeatureSpec, Label, Numeric, Task
from millrace.models.manifest import Lineage, ModelManifest, ModelVersion
from millrace.models.store import ModelStore
from millrace.models.vocabularies import write_vocabularies
from serve.servables.functions.runtime import import_tensorflow

POISON = 666.0
"""An `amount` for which the model answers NaN."""

NUMBER, CATEGORY, DAY = Numeric(), Category(), Cyclic(period="day")

INPUTS = (
    Feature(name="amount", dtype="float32", nullable=False, transform=NUMBER),
    Feature(name="weight", dtype="float64", nullable=True, transform=NUMBER),
    Feature(name="count", dtype="int64", nullable=False, transform=NUMBER),
    Feature(name="code", dtype="int64", nullable=True, transform=CATEGORY),
    Feature(name="flag", dtype="bool", nullable=False, transform=CATEGORY),
    Feature(name="maybe", dtype="bool", nullable=True, transform=CATEGORY),
    Feature(name="seen", dtype="timestamp", nullable=True, transform=DAY),
    Feature(name="city", dtype="string", nullable=False, transform=CATEGORY),
    Feature(name="note", dtype="string", nullable=True, transform=CATEGORY),
)

OUTPUTS: dict[str, dict[str, str]] = {
    "binary": {"probability": "float32", "class": "int64"},
    "multiclass": {"probabilities": "float32", "class": "string"},
    "regression": {"prediction": "float32"},
}
CLASSES: dict[str, tuple[Any, ...]] = {
    "binary": (0, 1),
    "multiclass": ("low", "mid", "high"),
    "regression": (),
}

ROW = {
    "amount": 1.5,
    "weight": 2.5,
    "count": 3,
    "code": 4,
    "flag": True,
    "maybe": False,
    "seen": "2013-01-31T12:00:00Z",
    "city": "Oslo",
    "note": "hi",
}
"""A row that fits `INPUTS`."""


def served(*names: str) -> dict[str, ServedModel]:
    """Models served as they come."""
    return {name: ServedModel() for name in names}


def spec_of(task: Task, inputs: tuple[Feature, ...] = INPUTS) -> FeatureSpec:
    """A feature spec over all dtypes, or over the given inputs."""
    return FeatureSpec(inputs=inputs, label=Label(name="y", task=task, classes=CLASSES[task]), key=("id",))


def publish(
    store: ModelStore,
    name: str,
    task: Task,
    inputs: tuple[Feature, ...] = INPUTS,
    bias: float = 0.0,
) -> ModelVersion:
    """Export a model with Keras and publish it as the next version of its name."""
    with tempfile.TemporaryDirectory() as folder:
        _export(Path(folder), task, inputs, bias)
        return store.publish(Path(folder), manifest_of(name, spec_of(task, inputs)))


def export(
    folder: Path, name: str, task: Task, inputs: tuple[Feature, ...] = INPUTS, bias: float = 0.0
) -> ModelManifest:
    """Export a model with Keras; returns the manifest to publish it with."""
    _export(folder, task, inputs, bias)
    return manifest_of(name, spec_of(task, inputs))


def manifest_of(name: str, spec: FeatureSpec) -> ModelManifest:
    """A manifest whose version and files are still to be filled in."""
    lineage = Lineage(
        run_id="run",
        commit_key="key",
        table=f"{name}/clean",
        table_version=0,
        config_sha256="0" * 64,
        code_sha256="0" * 64,
        seed=1,
        packages={},
    )
    return ModelManifest(
        name=name,
        version=1,
        created="2013-01-01T00:00:00Z",
        features=spec,
        outputs=OUTPUTS[spec.label.task],
        metrics={},
        lineage=lineage,
        files=(),
    )


def _export(folder: Path, task: Task, inputs: tuple[Feature, ...], bias: float) -> None:
    tf = import_tensorflow()
    import keras

    taken = {f.name: keras.Input((), dtype=f.tensor_dtype, name=f.name) for f in inputs}
    lookups = {
        f.name: keras.layers.StringLookup(vocabulary=["Oslo", "Rome"], mask_token="")
        for f in inputs
        if f.dtype == "string"
    }

    class Total(keras.layers.Layer):
        def call(self, columns: dict[str, Any]) -> Any:
            total = tf.zeros_like(next(iter(columns.values())), dtype=tf.float64) + bias
            for number, feature in enumerate(inputs, 1):
                value = columns[feature.name]
                if feature.tensor_dtype == "int64" and feature.dtype != "string":
                    value = tf.where(value == INT64_MIN, tf.constant(7, tf.int64), value % 1000)
                value = tf.cast(value, tf.float64)
                total += 0.01 * number * tf.where(tf.math.is_finite(value), tf.math.tanh(value), 0.5)
            if "amount" in columns:
                total = tf.where(columns["amount"] == POISON, tf.constant(np.nan, tf.float64), total)
            return tf.cast(total, tf.float32)

    encoded = {name: lookups[name](tensor) if name in lookups else tensor for name, tensor in taken.items()}
    model = keras.Model(taken, Total()(encoded))

    def serve(columns: dict[str, Any]) -> dict[str, Any]:
        total = model(columns)
        if task == "regression":
            return {"prediction": total}
        if task == "binary":
            return {"probability": tf.sigmoid(total), "class": tf.cast(total > 0, tf.int64)}
        probabilities = tf.nn.softmax(tf.stack([total, -total, 0 * total], axis=1))
        return {
            "probabilities": probabilities,
            "class": tf.gather(tf.constant(CLASSES[task]), tf.argmax(probabilities, axis=1)),
        }

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serving_default",
        serve,
        [{f.name: tf.TensorSpec((None,), f.tensor_dtype, f.name) for f in inputs}],
    )
    archive.write_out(str(folder), verbose=False)
    write_vocabularies(folder, {f.name: ("Oslo", "Rome") for f in inputs if f.name == "city"})
