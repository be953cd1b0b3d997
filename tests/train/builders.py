"""Builders of trunks that misbehave in one rank; named by dotted path, as a user's would be."""

import os
from collections.abc import Mapping
from typing import Any

from train.models import tabular
from train.preprocessing.layers import Encoding


def drifting(encoding: Encoding, units: int, options: Mapping[str, Any]) -> Any:
    """A trunk with a state that moves differently in every rank."""
    import keras

    class Drift(keras.layers.Layer):  # type: ignore[misc] # keras has no types
        """Counts calls, times the rank."""

        def build(self, shape: Any) -> None:
            self.count = self.add_weight(name="count", shape=(), initializer="zeros", trainable=False)

        def call(self, inputs: Any, training: bool = False) -> Any:
            self.count.assign(self.count + float(os.environ["HOROVOD_RANK"]))
            return inputs

    trunk = tabular.build(encoding, units, options)
    return keras.Model(trunk.inputs, Drift()(trunk.output))
