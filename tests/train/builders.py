"""Builders of trunks that misbehave in one rank; named by dotted path, as a user's would be."""

import os
import sys
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


def quitting(encoding: Encoding, units: int, options: Mapping[str, Any]) -> Any:
    """A builder that ends its process."""
    sys.exit("no such option")


def wide(encoding: Encoding, units: int, options: Mapping[str, Any]) -> Any:
    """A trunk with too many outputs."""
    return tabular.build(encoding, units + 1, options)


def without_a_model(encoding: Encoding, units: int, options: Mapping[str, Any]) -> Any:
    """A builder that returns no model."""
    return "model"


def with_numbers_alone(encoding: Encoding, units: int, options: Mapping[str, Any]) -> Any:
    """A trunk that takes no categories."""
    import keras

    numbers = keras.Input((encoding.numeric,), name="numeric")
    return keras.Model({"numeric": numbers}, keras.layers.Dense(units)(numbers))


def sequential(encoding: Encoding, units: int, options: Mapping[str, Any]) -> Any:
    """A trunk that takes one tensor."""
    import keras

    return keras.Sequential([keras.Input((encoding.numeric,)), keras.layers.Dense(units)])


def not_built(encoding: Encoding, units: int, options: Mapping[str, Any]) -> Any:
    """A trunk without known inputs."""
    import keras

    class Subclass(keras.Model):  # type: ignore[misc] # keras has no types
        """Has one layer."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = keras.layers.Dense(units)

        def call(self, inputs: Any) -> Any:
            return self.layer(inputs["numeric"])

    return Subclass()


def with_a_list(encoding: Encoding, units: int, options: Mapping[str, Any]) -> Any:
    """A trunk whose inputs are a list; its scores are the sums of the numbers."""
    import keras

    numbers = keras.Input((encoding.numeric,), name="numeric")
    categories = keras.Input((len(encoding.categories),), dtype="int32", name="category")
    sums = keras.layers.Dense(units, kernel_initializer="ones")(numbers)
    return keras.Model([categories, numbers], sums + 0.0 * keras.ops.cast(categories[:, :1], "float32"))
