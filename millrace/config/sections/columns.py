"""The typed section of a declared column: its type, its name in the file, and how text is read as its values."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from millrace.config.sections.names import SqlType, as_tuple
from millrace.config.sections.patterns import pattern_mistake
from millrace.section import Section

INTEGERS: Final = ("tinyint", "smallint", "int", "bigint")
FLOATS: Final = ("float", "double")
_MICROSECOND_DIGITS: Final = 6


def _as_word(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


Words = Annotated[tuple[Annotated[str, BeforeValidator(_as_word)], ...], BeforeValidator(as_tuple)]
Patterns = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]


class Column(Section):
    """A column of a source. Only `type` is required; docs/sources.md has the grammar of each type."""

    type: SqlType
    """Spark SQL type of the values."""
    from_: str | None = Field(None, alias="from", min_length=1)
    """Name of the column in the file, if it is another one, such as ``Order Date``."""
    decimal: Literal[".", ","] | None = None
    """The decimal separator of numbers; a point by default."""
    thousands: Literal[".", ",", " ", "'", "_", "\u00a0", "\u202f"] | None = None
    """The separator between groups of three digits; none by default."""
    unit: Literal["seconds", "milliseconds", "microseconds"] | None = None
    """For timestamps that are numbers: the unit of the time since 1970-01-01 00:00:00 UTC."""
    pattern: Patterns = ()
    """For dates and timestamps: one or more patterns of Spark, such as ``dd/MM/yyyy``; the first that fits counts."""
    true_values: Words = ()
    """More words for true, besides ``true`` in any case."""
    false_values: Words = ()
    """More words for false, besides ``false`` in any case."""
    null_values: Words = ()
    """Texts that are null, such as ``n/a``, besides the source's option `nullValue`."""
    encoding: Literal["utf-8", "base64", "hex"] | None = None
    """How text holds binary values: csv by default ``utf-8``, json ``base64``."""
    exact: bool | None = None
    """Reject values that the type could only hold rounded; by default as the source says."""

    def in_file(self, name: str) -> str:
        """The name in the file of a column that the product calls `name`."""
        return name if self.from_ is None else self.from_

    @property
    def text_keys(self) -> tuple[str, ...]:
        """The given keys that say how text is read as values."""
        names = ("decimal", "thousands", "unit", "pattern", "true_values", "false_values", "null_values", "encoding")
        return tuple(name for name in names if getattr(self, name))

    @model_validator(mode="after")
    def _check_keys(self) -> "Column":
        kinds: dict[str, tuple[str, ...]] = {
            "decimal": (*FLOATS, "decimal"),
            "thousands": (*INTEGERS, *FLOATS, "decimal"),
            "unit": ("timestamp",),
            "pattern": ("date", "timestamp"),
            "true_values": ("boolean",),
            "false_values": ("boolean",),
            "encoding": ("binary",),
        }
        for key, types in kinds.items():
            if getattr(self, key) and self.type.partition("(")[0] not in types:
                raise ValueError(f"{key} does not fit type {self.type}; it is for {', '.join(types)}")
        has_point = self.type not in INTEGERS
        if has_point and self.thousands is not None and self.thousands == (self.decimal or "."):
            raise ValueError(f"thousands and decimal are both '{self.thousands}'; a decimal comma is decimal: ','")
        if self.unit and self.pattern:
            raise ValueError("expected unit or pattern, not both")
        for pattern in self.pattern:
            if mistake := pattern_mistake(pattern, self.type):
                raise ValueError(f"pattern '{pattern}': {mistake}")
            if self.exact and pattern.count("S") > _MICROSECOND_DIGITS:
                raise ValueError(f"pattern '{pattern}' is finer than microseconds, which exact does not allow")
        words = [{*self.true_values, "true"}, {*self.false_values, "false"}, {*self.null_values}]
        low = [{word.lower() if word.lower() in ("true", "false") else word for word in each} for each in words]
        double = (low[0] & low[1]) | (low[0] & low[2]) | (low[1] & low[2])
        if self.type == "boolean" and double:
            raise ValueError(f"'{min(double)}' cannot have two meanings")
        return self
