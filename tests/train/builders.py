"""Builders of trunks that misbehave in one rank; named by dotted path, as a user's would be."""

import os
from collections.abc import Mapping
from typing import Any

from train.models import tabular
from train.preprocessing.layers import Encoding


def drifting(encoding: Encoding, units: int, options: Mapping[str, Any]) -> Any:
    """A trunk that changes a trained weight by itself, in another way on each rank."""
    import keras

    class Drift(keras.layers.Layer):  # type: ignore[misc] # keras has no types
        """Counts calls, times the rank."""

        def build(self, shape: Any) -> None:
            self.count = self.add_weight(name="count", shape=(), initializer="zeros")

        def call(self, inputs: Any, training: bool = False) -> Any:
            self.count.assign(self.count + float(os.environ["HOROVOD_RANK"]))
            return inputs

    trunk = tabular.build(encoding, units, options)
    return keras.Model(trunk.inputs, Drift()(trunk.output))


def mistaken(encoding: Encoding, units: int, options: Mapping[str, Any]) -> Any:
    """A builder with a mistake of its own."""
    return tabular.build(encoding, units, {"hidden": [units + "1"]})  # type: ignore[operator] # the mistake


def wide(encoding: Encoding, units: int, options: Mapping[str, Any]) -> Any:
    """A trunk with too many outputs."""
    return tabular.build(encoding, units + 1, options)


def without_a_model(encoding: Encoding, units: int, options: Mapping[str, Any]) -> Any:
    """A builder that returns no model."""
    return "model"
