"""The grammar of dates and timestamps: ISO 8601, declared patterns, or a number in a declared unit."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from pyspark.sql import functions as F

from ingest.spark.columns import quoted
from millrace.config.sections.columns import Column

if TYPE_CHECKING:
    from pyspark.sql import Column as Expression

_DAY: Final = "(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME: Final = "[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.][0-9]{1,9})?+)?+"
_ZONE: Final = " ?+(?:Z|[+-][0-9]{2}(?::?+[0-9]{2})?+)"
DATE: Final = rf"^{_DAY}\z"
TIMESTAMP: Final = rf"^{_DAY}(?:[ T]{_TIME}(?:{_ZONE})?+)?+\z"
_NUMBER: Final = r"^[+-]?+[0-9]{1,18}+(?:[.][0-9]{1,9}+)?+\z"
_FINER: Final = r"[.][0-9]{6}[0-9]*[1-9]"
"""Digits behind the microseconds that are not zero."""

_MINUTES: Final = len("2024-01-31T10:00")

FIRST: Final = "date'0001-01-01'"
LAST: Final = "date'9999-12-31'"
_FIRST_US: Final = -62_135_596_800_000_000
_LAST_US: Final = 253_402_300_799_999_999
_MICROSECONDS: Final = {"seconds": 1_000_000, "milliseconds": 1_000, "microseconds": 1}


def day(text: "Expression", column: Column) -> "Expression":
    """A date of the years 1 to 9999."""
    if not column.pattern:
        return F.when(text.rlike(DATE), text.try_cast("date"))
    value = _by_patterns(text, column).cast("date")
    return F.when(value.between(F.expr(FIRST), F.expr(LAST)), value)


def moment(text: "Expression", column: Column) -> "Expression":
    """A timestamp of the years 1 to 9999 in UTC; without a zone it is in UTC, without a time it is midnight.

    Digits behind the microseconds are cut off, or refused if the column is exact.
    """
    if column.unit:
        return _since_epoch(text, column)
    if column.pattern:
        return _in_range(_by_patterns(text, column))  # an exact column has no pattern finer than microseconds
    return F.when(~text.rlike(_FINER), _iso(text)) if column.exact else _iso(text)


def _iso(text: "Expression") -> "Expression":
    # Spark reads a zone only behind seconds.
    lacks_seconds = F.substring(text, _MINUTES + 1, 1).isin("Z", "+", "-", " ")
    whole = F.concat(F.left(text, F.lit(_MINUTES)), F.lit(":00"), F.substring(text, _MINUTES + 1, 10))
    value = F.when(text.rlike(TIMESTAMP), F.when(lacks_seconds, whole).otherwise(text).try_cast("timestamp"))
    # Only on these days can a zone move a time out of the years.
    is_edge = F.left(text, F.lit(10)).isin("0001-01-01", "9999-12-31")
    return F.when(~is_edge | value.between(_moment(_FIRST_US), _moment(_LAST_US)), value)


def _in_range(value: "Expression") -> "Expression":
    return F.when(value.between(_moment(_FIRST_US), _moment(_LAST_US)), value)


def range_reason(columns: Mapping[str, str]) -> "Expression":
    """The reason to reject a row with a date or timestamp outside the years 1 to 9999; null for other rows."""
    reasons = [F.lit(None).cast("string")]
    for name, type_name in columns.items():
        column = F.col(quoted(name))
        first, last = (F.expr(FIRST), F.expr(LAST)) if type_name == "date" else (_moment(_FIRST_US), _moment(_LAST_US))
        if type_name in ("date", "timestamp"):
            message = F.format_string(f"column '{name}': '%s' is not in the years 1 to 9999", column.cast("string"))
            reasons.append(F.when(~column.between(first, last), message))
    return F.coalesce(*reasons)


def _moment(microseconds: int) -> "Expression":
    return F.timestamp_micros(F.lit(microseconds))


def _by_patterns(text: "Expression", column: Column) -> "Expression":
    return F.coalesce(*(F.try_to_timestamp(text, F.lit(pattern)) for pattern in column.pattern))


def _since_epoch(text: "Expression", column: Column) -> "Expression":
    scale = _MICROSECONDS[str(column.unit)]
    number = F.when(text.rlike(_NUMBER), text.try_cast("decimal(27,9)")) * F.lit(scale).cast("decimal(7,0)")
    whole = F.floor(number)
    value = F.when(whole.between(F.lit(_FIRST_US), F.lit(_LAST_US)), F.timestamp_micros(whole.try_cast("bigint")))
    return F.when(whole == number, value) if column.exact else value
