"""A SavedModel in MLServer; runs in the environment of MLServer, in the folder of its settings."""

import asyncio
import gc
import os

import numpy as np
import tensorflow as tf
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class SavedModel(MLModel):
    """Predicts with ``serving_default``; each input has one value per row."""

    async def load(self) -> bool:
        """Load the model."""
        self._loaded = tf.saved_model.load(os.environ["BENCH_MODEL"])
        self._function = self._loaded.signatures["serving_default"]
        self._dtypes = {name: spec.dtype for name, spec in self._function.structured_input_signature[1].items()}
        if os.environ.get("BENCH_FREEZE"):
            gc.collect()
            gc.freeze()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Predict a batch, which MLServer has made of several requests."""
        if os.environ.get("BENCH_INLINE"):
            outputs = self._call(payload)
        else:
            outputs = await asyncio.to_thread(self._call, payload)
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                ResponseOutput(
                    name=name,
                    shape=list(values.shape),
                    datatype="FP32" if values.dtype == np.float32 else "INT64",
                    data=values.tolist(),
                )
                for name, values in outputs.items()
            ],
        )

    def _call(self, payload: InferenceRequest) -> dict[str, np.ndarray]:
        inputs = {i.name: tf.constant(list(i.data), self._dtypes[i.name]) for i in payload.inputs}
        return {name: tensor.numpy() for name, tensor in self._function(**inputs).items()}
