"""Keras layers of the preprocessing: from raw typed columns to a matrix of numbers and a matrix of category indices.

The same layers run before the training loop and inside the exported graph, so training and serving encode inputs in
the same way. Values that are not finite as float32 count as missing. Numbers are computed as float64 until they are
small: a float32 has 24 bits, too few for a time or an identifier.
"""

from dataclasses import dataclass
from math import prod, tau
from typing import Any, Final

import numpy as np

from millrace.errors import ConfigError
from millrace.features.encoding import INT64_MIN
from millrace.features.spec import PERIODS_US, Category, Cyclic, Feature, FeatureSpec, Numeric
from train.preprocessing.statistics import NumericStatistics, Statistics

NUMERIC: Final = "numeric"
CATEGORY: Final = "category"

MISSING_INDEX: Final = 0
"""Index of a missing value, in every category."""
RESERVED: Final = 2
"""Number of indices before the vocabulary: one for missing, one for out of vocabulary."""
MAX_CROSS: Final = 50_000_000
"""Largest product of sizes that a cross may have."""
MIN_BIN: Final = 1e-6
"""Smallest width of a bin, in standard deviations."""
MAX_DIM: Final = 512
"""Largest width of an embedding by default, as of one that is declared."""


@dataclass(frozen=True)
class EncodedCategory:
    """One column of the index matrix.

    Attributes:
        name: Of the input, or of the inputs of a cross joined by ``_x_``.
        size: Indices are 0 to size - 1.
        dim: Width of the embedding.
    """

    name: str
    size: int
    dim: int


@dataclass(frozen=True)
class Encoding:
    """Widths of the inputs of the trunk.

    Attributes:
        numeric: Number of columns of the float32 matrix.
        categories: Columns of the int32 index matrix.
        bins: For each column of the float32 matrix, the edges of bins that hold about as many rows of the train split
            each, rising, in units of the column; empty for a column that is no quantity, or has one value only.
    """

    numeric: int
    categories: tuple[EncodedCategory, ...]
    bins: tuple[tuple[float, ...], ...] = ()


def numeric_width(feature: Feature) -> int:
    """Columns of a feature in the matrix of numbers: the value, or sine and cosine, and a flag if it may be missing."""
    if isinstance(feature.transform, Category):
        return 0
    return (2 if isinstance(feature.transform, Cyclic) else 1) + int(feature.nullable)


def describe(spec: FeatureSpec, statistics: Statistics) -> Encoding:
    """Compute the widths of the encoded inputs, without building a graph.

    Raises:
        ConfigError: A cross has more combinations than `MAX_CROSS`.
    """
    sizes = {name: len(words) + RESERVED for name, words in statistics.vocabularies.items()}
    categories = [
        EncodedCategory(
            feature.name,
            sizes[feature.name],
            feature.transform.dim or min(MAX_DIM, round(1.6 * sizes[feature.name] ** 0.56)),
        )
        for feature in spec.inputs
        if isinstance(feature.transform, Category)
    ]
    for cross in spec.crosses:
        size = prod(sizes[name] for name in cross.columns)
        if size > MAX_CROSS:
            factors = " x ".join(f"{sizes[name]:,} of {name}" for name in cross.columns)
            raise ConfigError(
                f"features.crosses: {' and '.join(cross.columns)} have {size:,} combinations ({factors}), "
                f"at most {MAX_CROSS:,} are possible",
                hint="set a lower max_vocabulary, or a higher min_count, for these categories",
            )
        categories.append(EncodedCategory("_x_".join(cross.columns), size, cross.dim))
    bins: list[tuple[float, ...]] = []
    for feature in spec.inputs:
        columns: list[tuple[float, ...]] = [()] * numeric_width(feature)
        if isinstance(feature.transform, Numeric):
            columns[0] = _edges(statistics.numeric[feature.name])
        bins += columns
    return Encoding(len(bins), tuple(categories), tuple(bins))


def _edges(measured: NumericStatistics) -> tuple[float, ...]:
    """The quantiles in units of the standardised value, without those that a float32 cannot tell apart."""
    edges: list[float] = []
    for quantile in measured.quantiles:
        edge = (quantile - measured.mean) / measured.std
        if not edges or edge - edges[-1] >= MIN_BIN:
            edges.append(edge)
    return tuple(edges) if len(edges) > 1 else ()


def build_preprocessing(spec: FeatureSpec, statistics: Statistics) -> Any:
    """Build the Keras model from raw inputs by name to ``{"numeric": ..., "category": ...}``."""
    import keras
    from keras import ops

    inputs = {f.name: keras.Input((), dtype=f.tensor_dtype, name=f.name) for f in spec.inputs}
    numbers: list[Any] = []
    indices: dict[str, Any] = {}
    for feature in spec.inputs:
        value = inputs[feature.name]
        if isinstance(feature.transform, Category):
            indices[feature.name] = _look_up(feature, value, statistics.vocabularies[feature.name])
        elif isinstance(feature.transform, Cyclic):
            numbers += _cycle(feature, feature.transform, value)
        else:
            numbers += _standardise(feature, feature.transform, value, statistics)
    sizes = {name: len(words) + RESERVED for name, words in statistics.vocabularies.items()}
    columns = list(indices.values())
    for cross in spec.crosses:
        crossed = indices[cross.columns[0]]
        for name in cross.columns[1:]:
            crossed = crossed * sizes[name] + indices[name]
        columns.append(crossed)
    anchor = next(iter(inputs.values()))
    empty = ops.zeros_like(ops.expand_dims(indices[anchor.name] if anchor.name in indices else numbers[0], -1))[:, :0]
    outputs = {
        NUMERIC: ops.stack(numbers, axis=1) if numbers else ops.cast(empty, "float32"),
        CATEGORY: ops.cast(ops.stack(columns, axis=1) if columns else empty, "int32"),
    }
    return keras.Model(inputs, outputs, name="preprocessing")


# Keras makes float32 of Python's floats, so constants beside float64 values are numpy's.


def _to_number(feature: Feature, value: Any) -> tuple[Any, Any]:
    """The value as float64, and a boolean tensor: true if a float32 holds it and it is no marker of a missing integer.

    Where it is not, the number is zero: what `where` does not select must be finite too, or gradients become NaN.
    """
    from keras import ops

    present = ops.isfinite(ops.cast(value, "float32"))
    if feature.tensor_dtype == "int64":
        present = ops.logical_and(present, ops.not_equal(value, ops.cast(INT64_MIN, "int64")))
    number = ops.cast(value, "float64")
    return ops.where(present, number, ops.zeros_like(number)), present


def _standardise(feature: Feature, transform: Numeric, value: Any, statistics: Statistics) -> list[Any]:
    from keras import ops

    measured = statistics.numeric[feature.name]
    number, present = _to_number(feature, value)
    if transform.log:
        present = ops.logical_and(present, number > -1.0)
        number = ops.log1p(ops.where(present, number, ops.zeros_like(number)))
    scaled = (number - np.float64(measured.mean)) / np.float64(measured.std)
    scaled = ops.where(present, scaled, ops.zeros_like(scaled))
    return [ops.cast(scaled, "float32"), *([1.0 - ops.cast(present, "float32")] if feature.nullable else [])]


def _cycle(feature: Feature, transform: Cyclic, value: Any) -> list[Any]:
    from keras import ops

    number, present = _to_number(feature, value)
    period = np.float64(PERIODS_US[transform.period] if isinstance(transform.period, str) else transform.period)
    angle = ops.cast(ops.mod(number, period) / period, "float32") * tau
    known = ops.cast(present, "float32")
    return [
        ops.sin(angle) * known,
        ops.cos(angle) * known,
        *([1.0 - known] if feature.nullable else []),
    ]


def _look_up(feature: Feature, value: Any, vocabulary: tuple[int, ...] | tuple[str, ...]) -> Any:
    import keras
    from keras import ops

    if feature.dtype == "string":
        # As objects: numpy's own texts lose NUL characters at their end.
        words = np.array(vocabulary, dtype=object)
        layer = keras.layers.StringLookup(vocabulary=words, mask_token="", num_oov_indices=1)
    else:
        layer = keras.layers.IntegerLookup(
            vocabulary=list(vocabulary),
            mask_token=INT64_MIN,
            oov_token=INT64_MIN + 1,
            num_oov_indices=1,
        )
        value = ops.cast(value, "int64")
    return ops.cast(layer(value), "int32")
