"""The grammar of numbers: integers, decimals and floats, with other separators if the column declares them."""

import re
from typing import TYPE_CHECKING, Final

from pyspark.sql import functions as F

from ingest.spark.columns import is_not_finite
from millrace.config.sections.columns import Column

if TYPE_CHECKING:
    from pyspark.sql import Column as Expression

_DIGITS: Final = "[0-9]++"
_MOST_DIGITS: Final = 1_000
"""Most digits before and behind the point. Java's time for a decimal grows with the square of its digits."""
_MANY: Final = f"[0-9]{{1,{_MOST_DIGITS}}}+"
# At most three digits: Java computes with all digits of a decimal such as 1e-999999999.
_EXPONENT: Final = "(?:[eE][+-]?+[0-9]{1,3}+)?+"
_ZERO: Final = r"^[+-]?+[0.]*+(?:[eE].*)?+\z"
_MOST_GROUPS: Final = 12
"""Most groups of thousands; 38 digits need no more."""
NOT_FINITE_WORDS: Final = r"(?i)^[+-]?+(?:nan|inf|infinity)\z"


def integer(text: "Expression", column: Column, has_no_blanks: "Expression | None" = None) -> "Expression":
    """An integer: an optional sign and digits.

    Spark's cast accepts only these, and blanks around them. So the pattern is needed only for texts that may have some.
    """
    if column.thousands is None:
        is_valid = text.rlike(rf"^[+-]?+{_DIGITS}\z")
        is_valid = is_valid if has_no_blanks is None else has_no_blanks | is_valid
        return F.when(is_valid, text.try_cast(column.type))
    plain = F.replace(text, F.lit(column.thousands), F.lit(""))
    return F.when(text.rlike(rf"^[+-]?+{_whole(column)}\z"), plain.try_cast(column.type))


def decimal(text: "Expression", column: Column) -> "Expression":
    """A decimal; digits behind its scale are rounded half up, or refused if the column is exact."""
    plain = _plain(text, column)
    zero = F.when(plain.rlike(_ZERO), F.lit(0).cast(column.type))  # Spark has no decimal for 0e50
    value = F.when(text.rlike(pattern_of(column)), F.coalesce(plain.try_cast(column.type), zero))
    if not column.exact:
        return value
    scale = int(column.type.rstrip(")").rpartition(",")[2])
    point = re.escape(column.decimal or ".")
    return F.when(text.rlike(rf"^[^eE{point}]*+(?:{point}[0-9]{{0,{scale}}}0*+)?+\z"), value)


def floating(text: "Expression", column: Column) -> "Expression":
    """A finite float or double: the nearest one, or, if the column is exact, one whose shortest decimal was written."""
    plain = _plain(text, column)
    value = F.when(text.rlike(pattern_of(column)), plain.try_cast(column.type))
    value = F.when(~is_not_finite(value), value)
    if not column.exact:
        return value
    return F.when(value.isNotNull() & (_digits(plain) == _digits(value.cast("string"))), value)


def pattern_of(column: Column) -> str:
    """The regular expression of a number with an optional fraction and exponent."""
    point = re.escape(column.decimal or ".")
    whole = _whole(column).replace(_DIGITS, _MANY)
    return rf"^[+-]?+(?:{whole}(?:{point}[0-9]{{0,{_MOST_DIGITS}}}+)?+|{point}{_MANY}){_EXPONENT}\z"


def _whole(column: Column) -> str:
    if column.thousands is None:
        return _DIGITS
    separator = re.escape(column.thousands)
    return rf"(?:[1-9][0-9]{{0,2}}(?:{separator}[0-9]{{3}}){{1,{_MOST_GROUPS}}}+|{_DIGITS})"


def _plain(text: "Expression", column: Column) -> "Expression":
    """The text as Spark reads it: without separators of thousands, with a decimal point."""
    if column.thousands is not None:
        text = F.replace(text, F.lit(column.thousands), F.lit(""))
    return text if column.decimal in (None, ".") else F.replace(text, F.lit(column.decimal), F.lit("."))


def _digits(text: "Expression") -> "Expression":
    """The significant digits of a number, without its sign, point, exponent, and zeros at both ends."""
    mantissa = F.regexp_replace(text, r"[eE].*+\z|[+.-]", "")
    return F.regexp_replace(mantissa, r"^0++|0++\z", "")
