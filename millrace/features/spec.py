"""The feature spec: names, dtypes and transforms of a model's inputs, and its label.

It is stored in the model version, so that training, batch scoring and the server encode values in the same way.
Each dtype has one encoding of a missing value, see `millrace.features.encoding`.
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
    "date": "timestamp",
    "string": "string",
}
"""Type names of Spark SQL and of the Delta log, with the dtype of the model's input. A date is its midnight in UTC."""

PERIODS_US: Final = {
    "hour": 3_600_000_000,
    "day": 86_400_000_000,
    "week": 604_800_000_000,
    "year": 31_556_952_000_000,
}
"""Named periods of a cyclic timestamp, in microseconds; a year is the Gregorian mean of 365.2425 days."""


class Numeric(Section):
    """A quantity: missing values are replaced by the mean, then it is standardised."""

    kind: Literal["numeric"] = Field("numeric", alias="as")
    log: bool = False
    """Use log(1 + x) of a value before it is standardised. A value of -1 or less counts as missing."""


class Category(Section):
    """One of a set of values: looked up in the vocabulary of the train split, then embedded."""

    kind: Literal["category"] = Field("category", alias="as")
    dim: int | None = Field(None, ge=1, le=512)
    """Width of the embedding; the default is round(1.6 * (values in the vocabulary + 2) ** 0.56), at most 512."""
    max_vocabulary: int = Field(10_000, ge=1, le=10_000_000)
    """Only the most frequent values are kept; the rest share the out-of-vocabulary bucket."""
    min_count: int = Field(1, ge=1)
    """A value seen less often in the train split shares the out-of-vocabulary bucket."""


class Cyclic(Section):
    """A position in a cycle: encoded as sine and cosine, so that the end of the cycle is near its start."""

    kind: Literal["cyclic"] = Field("cyclic", alias="as")
    period: Annotated[float, Field(gt=0)] | Literal["hour", "day", "week", "year"]
    """Length of the cycle in the column's unit, or a named period for a timestamp or date."""


Transform = Annotated[Numeric | Category | Cyclic, Field(discriminator="kind")]


class Range(Section):
    """Numbers from a minimum to a maximum, both included; a missing bound is open."""

    min: int | float | None = None
    """Smallest value; for a timestamp, in microseconds since 1970 in UTC."""
    max: int | float | None = None
    """Largest value, in the same unit as `min`."""


class Domain(Range):
    """The values of an input that the contract allows, if the value is present."""

    excludes_min: bool = False
    """Whether `min` itself is not allowed."""
    excludes_max: bool = False
    """Whether `max` itself is not allowed."""
    values: tuple[int | float, ...] | tuple[str, ...] | None = None
    """The only allowed values; None if all values in the range are allowed."""


class Cross(Section):
    """Two or more categories that are embedded together, such as origin and day of the year."""

    columns: tuple[str, ...] = Field(min_length=2, max_length=4)
    """Names of inputs that are categories."""
    dim: int = Field(8, ge=1, le=512)
    """Width of the embedding."""


class Feature(Section):
    """One input of a model, with the type of the table's column."""

    name: str
    dtype: Dtype
    nullable: bool
    """Whether a missing value is allowed, by the contract's not-null rules."""
    transform: Transform
    domain: Domain | None = None
    """The values that the contract allows, in addition to `nullable`."""
    observed: Range | None = Field(None, alias="learnt")
    """For a quantity: smallest and largest finite value of the train split. Named `learnt` in model.json."""

    @property
    def tensor_dtype(self) -> str:
        """The dtype in the SavedModel's signature; a boolean that may be missing is an integer."""
        if self.dtype == "timestamp" or (self.dtype == "bool" and self.nullable):
            return "int64"
        return self.dtype


class Label(Section):
    """The label that a model predicts.

    For classification, `classes` has the label's values in the order of the model's outputs. In a binary task the
    second one is the positive class.
    """

    name: str
    task: Task
    classes: tuple[int, ...] | tuple[str, ...] = ()
    log: bool = False
    """The scores of a regression are of log(1 + value)."""
    loss: Literal["squared", "poisson"] = "squared"
    """With `poisson` the score is the logarithm of the value, relative to the mean of the train split."""


class FeatureSpec(Section):
    """The description of a model's inputs and label, as needed to build and to use it."""

    inputs: tuple[Feature, ...]
    crosses: tuple[Cross, ...] = ()
    label: Label
    key: tuple[str, ...]
    """Columns that identify a row."""

    def input(self, name: str) -> Feature:
        """Return the input with this name."""
        return next(feature for feature in self.inputs if feature.name == name)


def table_dtype(column: str, type_name: str) -> Dtype:
    """Return the dtype of a model's input for a table's column.

    Raises:
        FeatureMismatch: No input can have this type; the message lists the types to cast to.
    """
    if type_name not in TABLE_DTYPES:
        raise FeatureMismatch(column, expected=f"a column of type {', '.join(TABLE_DTYPES)}", found=type_name)
    return TABLE_DTYPES[type_name]
