"""The typed sections `ingest` and `contract`: how sources become a checked clean table."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from millrace.config.sections.names import ColumnName, DottedPath, Name, SqlType
from millrace.section import Section

ROW_KEY: Final = "row_key"
"""Name of the column that ingest adds if the key is `row`."""
DUPLICATES: Final = "duplicates"
"""The name under which dropped copies of equal rows are counted."""
UPSERT: Final = "upsert"
"""The name under which rows are counted that are older than another row with their key."""


class Join(Section):
    """Adds columns of another source, found by key; a join never adds rows."""

    source: str
    """The other source."""
    on: dict[ColumnName, ColumnName] = Field(min_length=1)
    """Key columns: the name in the table so far, then the name in the other source."""
    columns: dict[ColumnName, ColumnName] = Field(min_length=1)
    """Columns to add: the new name, then the name in the other source."""
    how: Literal["left", "inner"] = "left"
    """`left` keeps rows without a match; `inner` drops them and counts them as filtered."""


class Filter(Section):
    """Drops rows that do not match a condition."""

    name: Name
    """Dropped rows are counted under this name."""
    keep: str
    """Spark SQL condition of the rows to keep. Rows for which it is false or null are dropped."""


class Call(Section):
    """Calls a user's function ``def f(df: DataFrame) -> DataFrame``."""

    function: DottedPath
    """``module:function``; the job must be able to import it."""
    adds: dict[ColumnName, SqlType] = Field(default_factory=dict)
    """Columns that the function adds, or whose type it changes, with their Spark SQL types."""
    drops: tuple[ColumnName, ...] = ()
    """Columns that the function removes."""


class Dedupe(Section):
    """Keeps one of several rows with the same values in some columns. A row with a null in these is no duplicate."""

    by: tuple[ColumnName, ...] = Field(min_length=1)
    """Columns that are equal in rows that stand for the same thing."""
    keep: Literal["first", "newest"] = "first"
    """Which row to keep: the one with the least or the greatest value of `order`."""
    order: ColumnName | None = None
    """Column that orders the rows, such as the time of an update; nulls come last. Needed for `newest`."""
    name: Name = "dedupe"
    """Dropped rows are counted under this name."""

    @model_validator(mode="after")
    def _check_order(self) -> "Dedupe":
        if self.keep == "newest" and self.order is None:
            raise ValueError("keep: newest needs order, the column that says which row is newer")
        return self


class Aggregate(Section):
    """Makes one row of each group of rows; the table then has the columns of `by` and `columns` only."""

    by: tuple[ColumnName, ...] = Field(min_length=1)
    """Columns that are equal in the rows of a group."""
    columns: dict[ColumnName, str] = Field(min_length=1)
    """Columns to compute: name and Spark SQL expression with an aggregate function, such as ``sum(amount)``. The sum of
    floats may differ in the last digits between clusters; use decimals where that counts."""
    name: Name = "aggregate"
    """The rows that this saves are counted under this name; `max_filtered` does not count them."""


class Upsert(Section):
    """Lets a new row of an incremental table replace the row with the same key."""

    order: ColumnName
    """Column that says which of two rows is newer, such as the time of an update; nulls are oldest. Of rows with the
    same value, the one with the least digest of all columns stays, so that the table does not depend on how its rows
    were divided into deliveries."""


class Step(Section):
    """One cleaning step, with exactly one of these keys."""

    join: Join | None = None
    """Add columns of another source."""
    derive: dict[ColumnName, str] | None = None
    """Add columns: name and Spark SQL expression. An expression may use the columns before it."""
    filter: Filter | None = None
    """Drop rows that do not match a condition."""
    call: Call | None = None
    """Call a user's function."""
    drop: tuple[ColumnName, ...] | None = None
    """Remove columns."""
    rename: dict[ColumnName, ColumnName] | None = None
    """Rename columns: the new name, then the present one."""
    dedupe: Dedupe | None = None
    """Keep one of several rows that stand for the same thing."""
    aggregate: Aggregate | None = None
    """Make one row of each group of rows."""

    @model_validator(mode="after")
    def _check_one_key(self) -> "Step":
        given = [name for name in self.model_fields_set if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of the keys {', '.join(type(self).model_fields)}")
        return self


class HashSplit(Section):
    """Assigns rows to splits by a hash of their key, so that a row is always in the same split."""

    by: Literal["hash"] = "hash"
    validation: float = Field(0.1, ge=0, lt=1)
    """Share of the rows for validation."""
    test: float = Field(0.1, gt=0, lt=1)
    """Share of the rows for the test."""

    @model_validator(mode="after")
    def _check_shares(self) -> "HashSplit":
        if self.validation + self.test >= 1:
            raise ValueError("validation + test leave nothing to train on; expected less than 1 in all")
        return self


class TimeSplit(Section):
    """Assigns rows to splits by time, so that the model is evaluated on later rows than it was trained on."""

    by: Literal["time"]
    column: ColumnName
    """Column of type timestamp or date."""
    validation_from: str
    """Start of the validation split, such as 2013-10-20."""
    test_from: str
    """Start of the test split."""

    @model_validator(mode="after")
    def _check_order(self) -> "TimeSplit":
        if _parse_time("validation_from", self.validation_from) >= _parse_time("test_from", self.test_from):
            raise ValueError("validation_from must be before test_from")
        return self


def _parse_time(key: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{key} is '{text}'; expected a time such as 2013-10-20 or 2013-10-20T12:00:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Ingest(Section):
    """How sources become the clean table."""

    base: str
    """The source whose rows become the rows of the table."""
    steps: tuple[Step, ...] = ()
    """Cleaning steps, in order."""
    key: Literal["row"] | Annotated[tuple[ColumnName, ...], Field(min_length=1)]
    """Columns that identify a row; must be unique and never null. Or `row`, for data without such columns: ingest adds
    the column `row_key`, a digest of all columns."""
    duplicates: Literal["keep", "drop"] = "keep"
    """With key `row`: whether equal rows are kept, with a number behind the digest, or dropped all but one and
    counted."""
    upsert: Upsert | None = None
    """For an incremental source: a row whose key is in the table already replaces the old row if it is newer. Without
    this, such a row is an error."""
    split: Annotated[HashSplit | TimeSplit, Field(discriminator="by")] = HashSplit()
    """How rows are divided into train, validation (for early stopping) and test."""
    max_rejected: float = Field(0.01, ge=0, le=1)
    """Largest share of malformed rows in a source; with more, the run fails."""
    max_filtered: float = Field(0.5, ge=0, le=1)
    """Largest share of well-formed rows that filters, inner joins and functions may drop; with more, the run fails."""

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns that identify a row."""
        return (ROW_KEY,) if self.key == "row" else self.key

    @property
    def used_sources(self) -> list[str]:
        """The base source and then every joined source, each once."""
        return list(dict.fromkeys([self.base, *(step.join.source for step in self.steps if step.join)]))


def _check_one_name(item: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    if len(item) != 1:
        raise ValueError("expected one expectation name and its arguments, such as name: {column: x}")
    return item


Expectation = Annotated[dict[str, dict[str, Any]], AfterValidator(_check_one_name)]


class Contract(Section):
    """What the rows must fulfil before they become the current version of the clean table."""

    min_rows: int = Field(1, ge=1)
    """Least number of rows in the table; checked before the expectations."""
    min_non_null: float = Field(0.01, gt=0, le=1)
    """Least share of non-null values in the label and in every column that an expectation checks."""
    show_values: tuple[ColumnName, ...] = ()
    """Columns whose values messages may show. Of other columns they show no values; rows are identified by key."""
    expectations: tuple[Expectation, ...] = Field(min_length=1)
    """Expectations of Great Expectations: one name with its arguments per list item."""
