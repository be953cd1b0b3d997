"""The feature spec: names, dtypes and meaning of a model's inputs and outputs.

It travels inside the model version, so that training, batch scoring and the server encode a value in the same way.
Missing values have one encoding per dtype: NaN for floats, `INT64_MIN` for integers, booleans that may be missing and
timestamps (microseconds UTC), the empty string for strings.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from millrace.errors import FeatureMismatch
from millrace.section import Section

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


class Numeric(Section):
    """A quantity: missing values become the mean, then it is standardised."""

    kind: Literal["numeric"] = Field("numeric", alias="as")
    log: bool = False
    """Take log(1 + x) of a value that is never negative, before standardising."""


class Category(Section):
    """One of a set of values: looked up in the train split's vocabulary, then embedded."""

    kind: Literal["category"] = Field("category", alias="as")
    dim: int | None = Field(None, ge=1, le=512)
    """Width of the embedding; the default is round(1.6 * (values in the vocabulary + 2) ** 0.56)."""
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
    observed: Range | None = Field(None, alias="learnt")
    """Of a quantity: the least and the greatest finite value of the train split. Written as `learnt` in model.json."""

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


def table_dtype(column: str, type_name: str) -> Dtype:
    """The dtype that a model sees of a table's column.

    Raises:
        FeatureMismatch: No model input can have this type; the message says what to cast to.
    """
    if type_name not in TABLE_DTYPES:
        raise FeatureMismatch(column, expected=f"a column of type {', '.join(TABLE_DTYPES)}", found=type_name)
    return TABLE_DTYPES[type_name]
