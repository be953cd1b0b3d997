"""The served models: a small tabular model, published as training does, and an image model of another origin."""

import itertools
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.figures import ROOT
from millrace.features.spec import Category, Feature, FeatureSpec, Label, Numeric, Range
from millrace.models.manifest import Lineage, ModelManifest
from millrace.models.store import ModelStore
from millrace.models.vocabularies import write_vocabularies
from millrace.storage import Store
from serve.servables.functions.runtime import import_tensorflow

FLOATS: Final = 12
STRINGS: Final = 4
WORDS: Final = tuple(f"word-{number:03d}" for number in range(200))
LAYERS: Final = (128, 64)
IMAGE: Final = (224, 224, 3)

INPUTS: Final = (
    *(
        Feature(name=f"f{n}", dtype="float32", nullable=True, transform=Numeric(), observed=Range(min=-6, max=6))
        for n in range(FLOATS)
    ),
    *(Feature(name=f"s{n}", dtype="string", nullable=True, transform=Category()) for n in range(STRINGS)),
)


def row(seed: int = 0) -> dict[str, float | str]:
    """Return a valid row of the tabular model."""
    rng = np.random.default_rng(seed)
    floats = {f"f{n}": round(float(rng.normal()), 4) for n in range(FLOATS)}
    return {**floats, **{f"s{n}": str(rng.choice(WORDS)) for n in range(STRINGS)}}


def publish_tabular(store: ModelStore, name: str) -> None:
    """Publish the tabular model."""
    tf = import_tensorflow()
    rng = np.random.default_rng(0)

    class Tabular(tf.Module):  # type: ignore[name-defined, misc] # the base has no types
        def __init__(self) -> None:
            super().__init__()
            keys, values = tf.constant(WORDS), tf.range(1, len(WORDS) + 1, dtype=tf.int64)
            self.tables = [
                tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), 0) for _ in range(STRINGS)
            ]
            self.embeddings = [
                tf.Variable(rng.normal(size=(len(WORDS) + 1, 8)).astype("float32")) for _ in range(STRINGS)
            ]
            sizes = (FLOATS + STRINGS * 8, *LAYERS, 1)
            self.kernels = [
                tf.Variable((rng.normal(size=pair) / pair[0] ** 0.5).astype("float32"))
                for pair in itertools.pairwise(sizes)
            ]
            self.biases = [tf.Variable(tf.zeros(size)) for size in sizes[1:]]

        @tf.function(input_signature=[{f.name: tf.TensorSpec((None,), f.tensor_dtype, f.name) for f in INPUTS}])
        def serve(self, columns: dict[str, Any]) -> dict[str, Any]:
            floats = tf.stack([columns[f"f{n}"] for n in range(FLOATS)], axis=1)
            floats = tf.where(tf.math.is_finite(floats), floats, 0.0)
            texts = [
                tf.gather(embedding, table.lookup(columns[f"s{n}"]))
                for n, (table, embedding) in enumerate(zip(self.tables, self.embeddings, strict=True))
            ]
            hidden = tf.concat([floats, *texts], axis=1)
            for kernel, bias in zip(self.kernels[:-1], self.biases[:-1], strict=True):
                hidden = tf.nn.relu(hidden @ kernel + bias)
            logit = (hidden @ self.kernels[-1] + self.biases[-1])[:, 0]
            return {"probability": tf.sigmoid(logit), "class": tf.cast(logit > 0, tf.int64)}

    module = Tabular()
    spec = FeatureSpec(inputs=INPUTS, label=Label(name="y", task="binary", classes=(0, 1)), key=("id",))
    lineage = Lineage(
        run_id="bench",
        commit_key="bench",
        table=f"{name}/clean",
        table_version=0,
        config_sha256="0" * 64,
        code_sha256="0" * 64,
        seed=0,
        packages={},
    )
    manifest = ModelManifest(
        name=name,
        version=1,
        created="2013-01-01T00:00:00Z",
        features=spec,
        outputs={"probability": "float32", "class": "int64"},
        metrics={},
        lineage=lineage,
        files=(),
    )
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"serving_default": module.serve})
        write_vocabularies(Path(folder), {f"s{n}": WORDS for n in range(STRINGS)})
        store.publish(Path(folder), manifest)


def publish_all(root: Path) -> Path:
    """Publish both models and return the folder of the tabular one.

    A separate process does it, so that the measured processes share no memory with TensorFlow in this one.
    """
    code = f"from benchmarks.serving.models import _publish_all; _publish_all({str(root)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    return root / "models" / "tabular" / "1"


def _publish_all(root: str) -> None:
    publish_tabular(ModelStore(Store(root)), "tabular")
    write_image(Path(root) / "models" / "image" / "1")


def write_image(folder: Path) -> None:
    """Write the image model: one cheap convolution with stride 32, so that transport takes most of the time."""
    tf = import_tensorflow()

    class Image(tf.Module):  # type: ignore[name-defined, misc] # the base has no types
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(tf.random.stateless_normal((32, 32, IMAGE[2], 16), (1, 2)) / 55)
            self.dense = tf.Variable(tf.random.stateless_normal((16, 10), (3, 4)))

        @tf.function(input_signature=[tf.TensorSpec((None, *IMAGE), tf.float32, "image")])
        def serve(self, image: Any) -> dict[str, Any]:
            features = tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(image, self.kernel, 32, "VALID")), axis=(1, 2))
            return {"scores": tf.nn.softmax(features @ self.dense)}

    module = Image()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
