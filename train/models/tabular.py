"""A multi-layer perceptron on standardised numbers and embedded categories."""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from millrace.section import Section
from train.preprocessing.layers import CATEGORY, NUMERIC, Encoding


class Options(Section):
    """The options of this builder, from ``train.options``."""

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (256, 128)
    """Number of units of each hidden layer."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of hidden units that are set to zero at random in each training step."""
    bins: bool = True
    """Beside each quantity, also use its position among its quantiles: better with values of very different size."""


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
    if chosen.bins and any(encoding.bins):
        parts.append(positions(inputs[NUMERIC], encoding.bins))
    for position, category in enumerate(encoding.categories):
        layer = keras.layers.Embedding(category.size, category.dim, name=f"embed_{position}_{category.name}")
        parts.append(layer(inputs[CATEGORY][:, position]))
    hidden = keras.layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
    for width in chosen.hidden:
        hidden = keras.layers.Dense(width, activation="relu")(hidden)
        if chosen.dropout:
            hidden = keras.layers.Dropout(chosen.dropout)(hidden)
    return keras.Model(inputs, keras.layers.Dense(units, name="scores")(hidden))


def positions(numbers: Any, bins: tuple[tuple[float, ...], ...]) -> Any:
    """The position of each value in each of its column's bins: 0 below the bin, 1 above it, linear inside.

    This is the piecewise linear encoding of Gorishniy, Rubachev, Babenko: On embeddings for numerical features in
    tabular deep learning, 2022.

    Args:
        numbers: Shape (n, columns).
        bins: Edges of the bins of each column.

    Returns:
        Shape (n, bins of all columns).
    """
    from keras import ops

    columns = np.repeat(np.arange(len(bins)), [max(0, len(edges) - 1) for edges in bins])
    lower = np.concatenate([edges[:-1] for edges in bins]).astype(np.float32)
    width = np.concatenate([np.diff(edges) for edges in bins]).astype(np.float32)
    return ops.clip((ops.take(numbers, columns, axis=1) - lower) / width, 0.0, 1.0)
