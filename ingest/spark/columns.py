"""Names of internal columns, and column expressions that all of ingest uses."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from pyspark.sql import functions as F

if TYPE_CHECKING:
    from pyspark.sql import Column

# No user's column can have such a name (see COLUMN_PATTERN in millrace.config.sections.names).
FILE: Final = "#file"
TEXT: Final = "#text"
RECORD: Final = "#record"
REASON: Final = "#reason"
CORRUPT: Final = "#corrupt"

NOT_UTF8: Final = "bytes that are not UTF-8"
NUL: Final = "a NUL character"
SHOWN_VALUE: Final = 80
"""Most characters of a bad value that a reason quotes."""


def quoted(name: str) -> str:
    """Quote a column's name for Spark SQL."""
    return "`" + name.replace("`", "``") + "`"


def text_column(name: str) -> str:
    """Name of the internal column with the text of a declared column."""
    return f"#text of {name}"


def ddl(columns: Mapping[str, str]) -> str:
    """Columns and their types as a DDL schema for Spark's readers."""
    return ", ".join(f"{quoted(name)} {type_name}" for name, type_name in columns.items())


def is_not_finite(column: "Column") -> "Column":
    """Condition: the value is NaN or infinite; false for null."""
    return F.isnan(column) | F.coalesce(F.abs(column) == F.lit(float("inf")), F.lit(False))


def floats_of(columns: Mapping[str, str]) -> list[str]:
    """The columns that can hold NaN or infinite numbers."""
    return [name for name, type_name in columns.items() if type_name in ("float", "double")]


def not_finite_reason(columns: Mapping[str, str], prefix: str = "") -> "Column":
    """The reason to reject a row with NaN or an infinite number: column and value; null for other rows."""
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

    It does not change if a column gets a wider type or if other columns are added or removed. A null changes the hash
    and differs from every text; Spark's own hash skips nulls. The numbers -0.0 and 0.0 are equal for Spark, as keys
    and in joins, so they have one hash.
    """
    texts = [F.col(quoted(name)).cast("string") for name in key]
    values = [F.when(text == "-0.0", F.lit("0.0")).otherwise(text) for text in texts]
    marked = [F.coalesce(F.concat(F.lit("="), value), F.lit("-")) for value in values]
    return F.xxhash64(*marked)
