"""The kinds of names in a product file, and their patterns."""

import keyword
import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, StringConstraints

from millrace.dotted import suggestion

NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]{0,62}$"
COLUMN_PATTERN: Final = r"^[A-Za-z_][A-Za-z0-9_]{0,126}$"
DOTTED_PATTERN: Final = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"
DIGEST_PATTERN: Final = r"^[0-9a-f]{64}$"
MEMORY_PATTERN: Final = r"^[1-9]\d*[mg]$"
MASTER_PATTERN: Final = r"^(local(\[[\d*, ]+\])?|local-cluster\[.+\]|yarn|spark://.+|k8s://.+)$"

SPELLING: Final = {
    NAME_PATTERN: "expected lower-case letters, digits, - and _, such as my-product",
    COLUMN_PATTERN: "expected letters, digits and _, such as dep_delay",
    DOTTED_PATTERN: "expected module:function, such as train.models.tabular:build",
    DIGEST_PATTERN: "expected the 64 hexadecimal digits that sha256sum prints",
    MEMORY_PATTERN: "expected a size such as 2g or 512m",
    MASTER_PATTERN: "expected a Spark master, such as local[*], yarn or spark://host:7077",
}
"""The expectation in an error message, by pattern."""

SQL_TYPES: Final = (
    "boolean", "tinyint", "smallint", "int", "bigint", "float", "double", "string", "date", "timestamp", "binary",
)  # fmt: skip
_DECIMAL: Final = re.compile(r"^decimal\(\s*(\d{1,2})\s*,\s*(\d{1,2})\s*\)$")
_MAX_PRECISION: Final = 38


def _check_type(value: str) -> str:
    if value in SQL_TYPES:
        return value
    parts = _DECIMAL.match(value)
    if not parts:
        raise ValueError(suggestion(value, {*SQL_TYPES, "decimal(p,s)"}))
    precision, scale = int(parts[1]), int(parts[2])
    if not 1 <= precision <= _MAX_PRECISION or scale > precision:
        raise ValueError(f"expected decimal(p,s) with p from 1 to {_MAX_PRECISION} and s up to p")
    return f"decimal({precision},{scale})"


def _check_input(name: str) -> str:
    if keyword.iskeyword(name) or name.startswith("_") or name == "self":
        bare = name.strip("_") or "column"
        other = f"{bare}_" if keyword.iskeyword(bare) or bare == "self" else bare
        raise ValueError(
            f"no name of an input in TensorFlow; rename the column in ingest.steps, such as rename: {{{other}: {name}}}"
        )
    return name


def as_tuple(value: Any) -> Any:
    """A tuple of the values of a list, or of one text, for settings that take both."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
ColumnName = Annotated[str, StringConstraints(pattern=COLUMN_PATTERN)]
InputName = Annotated[ColumnName, AfterValidator(_check_input)]
"""Name of an input; TensorFlow makes a parameter of a Python function of it."""
SqlType = Annotated[str, AfterValidator(_check_type)]
DottedPath = Annotated[str, StringConstraints(pattern=DOTTED_PATTERN)]
Digest = Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)]
