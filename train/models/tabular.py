"""A multi-layer perceptron on standardised numbers and embedded categories."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from millrace.section import Section
from train.preprocessing.layers import CATEGORY, NUMERIC, Encoding


class Options(Section):
    """The options of this builder, from ``train.options``."""

    hidden: tuple[int, ...] = (256, 128)
    """Number of units of each hidden layer."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of hidden units that are set to zero at random in each training step."""


def build(encoding: Encoding, units: int, options: Mapping[str, Any]) -> Any:
    """Build the trunk.

    Args:
        encoding: Widths of the encoded inputs.
        units: Width of the output.
        options: The settings of `Options`.

    Returns:
        A Keras model from ``{"numeric": (n, width), "category": (n, count)}`` to raw scores (n, units): logits for
        classes, a standardised value for a regression.
    """
    import keras

    chosen = Options.model_validate(dict(options))
    inputs = {
        NUMERIC: keras.Input((encoding.numeric,), dtype="float32", name=NUMERIC),
        CATEGORY: keras.Input((len(encoding.categories),), dtype="int32", name=CATEGORY),
    }
    parts = [inputs[NUMERIC]] if encoding.numeric else []
    for position, category in enumerate(encoding.categories):
        layer = keras.layers.Embedding(category.size, category.dim, name=f"embed_{category.name}")
        parts.append(layer(inputs[CATEGORY][:, position]))
    hidden = keras.layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
    for width in chosen.hidden:
        hidden = keras.layers.Dense(width, activation="relu")(hidden)
        if chosen.dropout:
            hidden = keras.layers.Dropout(chosen.dropout)(hidden)
    return keras.Model(inputs, keras.layers.Dense(units, name="scores")(hidden))
