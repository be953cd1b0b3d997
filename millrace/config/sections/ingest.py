"""The typed sections `ingest` and `contract`: from sources to a checked clean table."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from millrace.config.sections.names import ColumnName, DottedPath, Name, SqlType
from millrace.section import Section


class Join(Section):
    """Columns of another source, looked up by key; rows are never multiplied."""

    source: str
    """The source to look up in."""
    on: dict[ColumnName, ColumnName] = Field(min_length=1)
    """This flow's column: the source's column."""
    columns: dict[ColumnName, ColumnName] = Field(min_length=1)
    """New column: the source's column."""
    how: Literal["left", "inner"] = "left"
    """`left` keeps rows without a match; `inner` drops them, counted as filtered."""


class Filter(Section):
    """Rows to keep; the others are counted under this name."""

    name: Name
    """What the rows that it drops are counted under."""
    keep: str
    """A Spark SQL condition; a row where it is false or null is dropped."""


class Call(Section):
    """A function of the user's own: ``def f(df: DataFrame) -> DataFrame``."""

    function: DottedPath
    """``module:function``, importable where the job runs."""
    adds: dict[ColumnName, SqlType] = Field(default_factory=dict)
    """Columns that it adds or changes the type of."""
    drops: tuple[ColumnName, ...] = ()
    """Columns that it removes."""


class Step(Section):
    """One cleaning step; exactly one of these keys."""

    join: Join | None = None
    """Look up columns of another source."""
    derive: dict[ColumnName, str] | None = None
    """New columns, each a Spark SQL expression over the columns before."""
    filter: Filter | None = None
    """Drop rows, counted."""
    call: Call | None = None
    """A function by dotted path."""
    drop: tuple[ColumnName, ...] | None = None
    """Remove columns."""

    @model_validator(mode="after")
    def _one_key(self) -> "Step":
        given = [name for name in self.model_fields_set if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of {', '.join(type(self).model_fields)}, with what it is to do")
        return self


class HashSplit(Section):
    """Rows fall into a split by a hash of their key: the same row in the same split, for ever."""

    by: Literal["hash"] = "hash"
    validation: float = Field(0.1, ge=0, lt=1)
    """Share of the rows."""
    test: float = Field(0.1, gt=0, lt=1)
    """Share of the rows."""

    @model_validator(mode="after")
    def _leaves_train(self) -> "HashSplit":
        if self.validation + self.test >= 1:
            raise ValueError("validation + test leave nothing to train on; expected less than 1 in all")
        return self


class TimeSplit(Section):
    """Rows fall into a split by time: the model is judged on what came later."""

    by: Literal["time"]
    column: ColumnName
    """A timestamp or date."""
    validation_from: str
    """First moment of the validation split, such as 2013-10-20."""
    test_from: str
    """First moment of the test split."""

    @model_validator(mode="after")
    def _in_order(self) -> "TimeSplit":
        if _moment("validation_from", self.validation_from) >= _moment("test_from", self.test_from):
            raise ValueError("validation_from must be before test_from")
        return self


def _moment(key: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{key} is '{text}'; write a moment as 2013-10-20 or 2013-10-20T12:00:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Ingest(Section):
    """From sources to the clean table."""

    base: str
    """The source whose rows become the table's rows."""
    steps: tuple[Step, ...] = ()
    """Cleaning steps, in order."""
    key: tuple[ColumnName, ...] = Field(min_length=1)
    """Columns that name a row; unique and never null."""
    split: Annotated[HashSplit | TimeSplit, Field(discriminator="by")] = HashSplit()
    """How rows are divided for training, early stopping and the final judgement."""
    max_rejected: float = Field(0.01, ge=0, le=1)
    """Share of a source's rows that may be malformed before the run is refused."""

    max_filtered: float = Field(0.5, ge=0, le=1)
    """Share of the well-formed rows that filters, inner joins and functions may drop before the run is refused."""

    @property
    def used_sources(self) -> list[str]:
        """The base and every joined source, in that order, each once."""
        return list(dict.fromkeys([self.base, *(step.join.source for step in self.steps if step.join)]))


def _one_name(item: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    if len(item) != 1:
        raise ValueError("expected one expectation name and its arguments, such as name: {column: x}")
    return item


Expectation = Annotated[dict[str, dict[str, Any]], AfterValidator(_one_name)]


class Contract(Section):
    """What must hold of the clean table before it becomes current."""

    min_rows: int = Field(1, ge=1)
    """Fewer rows are refused, before any expectation is asked."""
    min_non_null: float = Field(0.01, gt=0, le=1)
    """Least share of non-null values in the label and in a column that an expectation names."""
    show_values: tuple[ColumnName, ...] = ()
    """Columns whose offending values a failure may quote; of others only the rows' keys are shown."""
    expectations: tuple[Expectation, ...] = Field(min_length=1)
    """Great Expectations' own names and arguments, one a list item."""
