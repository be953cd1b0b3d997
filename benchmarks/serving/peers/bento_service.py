"""A SavedModel in BentoML with adaptive batching; runs in the environment of BentoML."""

import gc
import os
from typing import Any

import bentoml
import tensorflow as tf


@bentoml.service(workers=2, traffic={"timeout": 30, "max_concurrency": 1024})
class SavedModel:
    """Predicts with ``serving_default``; rows are objects."""

    def __init__(self) -> None:
        self._loaded = tf.saved_model.load(os.environ["BENCH_MODEL"])
        self._function = self._loaded.signatures["serving_default"]
        self._dtypes = {name: spec.dtype for name, spec in self._function.structured_input_signature[1].items()}
        gc.collect()
        gc.freeze()

    @bentoml.api(batchable=True, max_batch_size=128, max_latency_ms=100)
    async def predict(self, rows: list[dict[str, Any]]) -> list[float]:
        """Predict a batch, which BentoML has made of several requests."""
        inputs = {name: tf.constant([row[name] for row in rows], dtype) for name, dtype in self._dtypes.items()}
        return self._function(**inputs)["probability"].numpy().tolist()
