"""The feature spec: names, dtypes and meaning of a model's inputs and outputs.

It travels inside the model version, so that training, batch scoring and the server encode a value in the same way.
Missing values have one encoding per dtype: NaN for floats, `INT64_MIN` for integers, booleans that may be missing and
timestamps (microseconds UTC), the empty string for strings.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from pipelines.errors import FeatureMismatch

INT64_MIN: Final = -(2**63)
"""The missing value of every integer dtype."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Dtype = Literal["float32", "float64", "int64", "bool", "timestamp", "string"]
Task = Literal["binary", "multiclass", "regression"]

TABLE_DTYPES: Final[dict[str, Dtype]] = {
    "float": "float32",
    "double": "float64",
    "byte": "int64",
    "tinyint": "int64",
    "short": "int64",
    "smallint": "int64",
    "integer": "int64",
    "int": "int64",
    "long": "int64",
    "bigint": "int64",
    "boolean": "bool",
    "timestamp": "timestamp",
    "string": "string",
}
"""Type names of Spark SQL and of the Delta log, and the dtype that a model sees."""

PERIODS_US: Final = {
    "hour": 3_600_000_000,
    "day": 86_400_000_000,
    "week": 604_800_000_000,
    "year": 31_556_952_000_000,
}
"""Named periods of a cyclic timestamp, in microseconds; a year is the Gregorian mean of 365.2425 days."""


class Section(BaseModel):
    """Base of every typed section: unknown keys are errors, values never change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, populate_by_name=True, allow_inf_nan=False
    )


class Numeric(Section):
    """A quantity: missing values become the mean, then it is standardised."""

    kind: Literal["numeric"] = Field("numeric", alias="as")
    log: bool = False
    """Take log(1 + x) of a value that is never negative, before standardising."""


class Category(Section):
    """One of a set of values: looked up in the train split's vocabulary, then embedded."""

    kind: Literal["category"] = Field("category", alias="as")
    dim: int | None = Field(None, ge=1, le=512)
    """Width of the embedding; by default grows with the fourth root of the vocabulary."""
    max_vocabulary: int = Field(10_000, ge=1, le=10_000_000)
    """Only the most frequent values are kept; the rest share the out-of-vocabulary bucket."""
    min_count: int = Field(1, ge=1)
    """A value seen less often in the train split shares the out-of-vocabulary bucket."""


class Cyclic(Section):
    """A position in a cycle: becomes its sine and cosine, so that the end meets the start."""

    kind: Literal["cyclic"] = Field("cyclic", alias="as")
    period: Annotated[float, Field(gt=0)] | Literal["hour", "day", "week", "year"]
    """Length of the cycle in the column's unit, or a named one for a timestamp."""


Transform = Annotated[Numeric | Category | Cyclic, Field(discriminator="kind")]


class Range(Section):
    """Numbers from a least to a greatest, both included; a bound that is missing is open."""

    min: int | float | None = None
    """Of a timestamp, in microseconds since 1970 in UTC."""
    max: int | float | None = None
    """As `min`."""


class Domain(Range):
    """What the contract says that a value of an input is, if it is there at all."""

    excludes_min: bool = False
    """Whether `min` itself is out."""
    excludes_max: bool = False
    """Whether `max` itself is out."""
    values: tuple[int | float, ...] | tuple[str, ...] | None = None
    """The only values; None if any is."""


class Cross(Section):
    """A pair or more of categories embedded together, such as origin and day of the year."""

    columns: tuple[str, ...] = Field(min_length=2, max_length=4)
    """Inputs that are categories."""
    dim: int = Field(8, ge=1, le=512)
    """Width of the embedding."""


class Feature(Section):
    """One input of a model, in the table's own type."""

    name: str
    dtype: Dtype
    nullable: bool
    """Whether a missing value is allowed; the contract's not-null rules decide."""
    transform: Transform
    domain: Domain | None = None
    """What the contract says of its values, beside `nullable`."""
    learnt: Range | None = None
    """Of a quantity: the least and the greatest finite value of the train split; what a category learnt is its
    vocabulary."""

    @property
    def tensor_dtype(self) -> str:
        """The dtype in the SavedModel's signature; a boolean that may be missing is an integer."""
        if self.dtype == "timestamp" or (self.dtype == "bool" and self.nullable):
            return "int64"
        return self.dtype


class Label(Section):
    """What is predicted.

    For classes, `classes` holds the label's values in the order of the model's outputs; of two, the second is the
    positive one.
    """

    name: str
    task: Task
    classes: tuple[int, ...] | tuple[str, ...] = ()


class FeatureSpec(Section):
    """Everything that is needed to build, feed and read a model."""

    inputs: tuple[Feature, ...]
    crosses: tuple[Cross, ...] = ()
    label: Label
    key: tuple[str, ...]
    """Columns that name a row."""

    def input(self, name: str) -> Feature:
        """The input of this name."""
        return next(feature for feature in self.inputs if feature.name == name)


@dataclass(frozen=True)
class Dictionary:
    """A string column as distinct values and a position for each row, so that no string is copied per row."""

    values: npt.NDArray[np.object_]
    indices: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.indices)


Encoded = npt.NDArray[np.generic] | Dictionary


def encode(column: pa.Array | pa.ChunkedArray, feature: Feature) -> Encoded:
    """Turn a table's column into what a model's signature takes, missing values included.

    Raises:
        FeatureMismatch: The column's type cannot hold the feature, or a value is missing that must not be.
    """
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if column.null_count and not feature.nullable:
        raise FeatureMismatch(feature.name, expected="no missing value", found=f"{column.null_count} missing values")
    try:
        return _encode(column, feature)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise FeatureMismatch(feature.name, expected=feature.dtype, found=str(column.type)) from error


def _encode(column: pa.Array, feature: Feature) -> Encoded:
    if feature.dtype == "string":
        encoded = pc.dictionary_encode(pc.fill_null(column.cast(pa.string()), ""))
        values = np.asarray(encoded.dictionary.to_numpy(zero_copy_only=False), dtype=object)
        return Dictionary(values, encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False))
    if feature.dtype == "timestamp":
        column = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    if feature.tensor_dtype in ("float32", "float64"):
        target = pa.float32() if feature.tensor_dtype == "float32" else pa.float64()
        filled = pc.fill_null(column.cast(target), float("nan"))
    elif feature.tensor_dtype == "bool":
        filled = column.cast(pa.bool_())
    else:
        filled = pc.fill_null(column.cast(pa.int64()), INT64_MIN)
    return np.asarray(filled.to_numpy(zero_copy_only=False))


def microseconds_of(text: str) -> int:
    """A timestamp as models take it: microseconds since 1970 in UTC, which is meant where the text names no zone.

    Raises:
        ValueError: It is not of ISO 8601.
        OverflowError: In UTC it is before year 1 or after year 9999.
    """
    moment = datetime.fromisoformat(text)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)


def moment_of(microseconds: int) -> datetime:
    """What `microseconds_of` made a number of.

    Raises:
        OverflowError: There is no such date.
    """
    return _EPOCH + timedelta(microseconds=microseconds)


def table_dtype(column: str, type_name: str) -> Dtype:
    """The dtype that a model sees of a table's column.

    Raises:
        FeatureMismatch: No model input can have this type; the message says what to cast to.
    """
    if type_name not in TABLE_DTYPES:
        raise FeatureMismatch(column, expected=f"a column of type {', '.join(TABLE_DTYPES)}", found=type_name)
    return TABLE_DTYPES[type_name]
