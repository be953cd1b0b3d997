"""Names and expressions of columns that every room of ingest uses."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from pyspark.sql import functions as F

if TYPE_CHECKING:
    from pyspark.sql import Column

# No user's column can have such a name (see COLUMN_PATTERN in millrace.config.sections.names).
FILE: Final = "#file"
RECORD: Final = "#record"
REASON: Final = "#reason"
CORRUPT: Final = "#corrupt"

MALFORMED: Final = "malformed"
NOT_FINITE: Final = "not finite"
NOT_UTF8: Final = "bytes that are not UTF-8"
NUL: Final = "a NUL character"
SHOWN_VALUE: Final = 80
"""Characters of an offending value that a reason quotes."""


def quoted(name: str) -> str:
    """A column's name as Spark SQL takes it, whatever is in it."""
    return "`" + name.replace("`", "``") + "`"


def ddl(columns: Mapping[str, str]) -> str:
    """A schema as Spark's readers take it."""
    return ", ".join(f"{quoted(name)} {type_name}" for name, type_name in columns.items())


def is_not_finite(column: "Column") -> "Column":
    """Condition: the value is NaN or infinite; false for null."""
    return F.isnan(column) | F.coalesce(F.abs(column) == F.lit(float("inf")), F.lit(False))


def floats_of(columns: Mapping[str, str]) -> list[str]:
    """Columns that can be NaN or infinite."""
    return [name for name, type_name in columns.items() if type_name in ("float", "double")]


def not_finite_reason(columns: Mapping[str, str], prefix: str = "") -> "Column":
    """Which column holds NaN or an infinite number, as a reason; null where none does."""
    reasons = [
        F.when(
            is_not_finite(F.col(f"{prefix}{quoted(name)}")),
            F.format_string(f"column '{name}': '%s' is not a finite number", F.col(f"{prefix}{quoted(name)}")),
        )
        for name in floats_of(columns)
    ]
    return F.coalesce(*reasons, F.lit(None).cast("string"))


def hash_of(key: Sequence[str]) -> "Column":
    """A 64-bit hash of the key's values as text.

    It does not change when a column's type widens or when other columns come and go. A null differs from every text,
    and it takes part: Spark's hash alone would skip it.
    """
    values = [F.col(quoted(name)).cast("string") for name in key]
    marked = [F.coalesce(F.concat(F.lit("="), value), F.lit("-")) for value in values]
    return F.xxhash64(*marked)
