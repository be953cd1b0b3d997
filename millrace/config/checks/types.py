"""Which types of Spark can be compared without a loss."""

import re
from typing import Final

_DECIMAL: Final = re.compile(r"decimal\((\d+),(\d+)\)")
_MAX_PRECISION: Final = 38
_DIGITS: Final = {"tinyint": 3, "smallint": 5, "int": 10, "bigint": 20}
"""Decimal digits that hold every value, as Spark counts them."""
_BESIDE_FLOATS: Final = {
    "float": ("double", "tinyint", "smallint"),
    "double": ("float", "tinyint", "smallint", "int"),
}
"""Types whose values a float (24 bits) and a double (53 bits) hold. Without ANSI, Spark compares int and float as
float."""


def are_comparable(left: str, right: str) -> bool:
    """Whether values are equal for Spark if and only if they are the same number, or have one type.

    Spark compares values of two types as values of a wider type. Where that type cannot hold all values of both, it
    rounds: bigint and double are compared as double, so 9007199254740993 equals 9007199254740992.
    """
    if left == right:
        return True
    for one, other in ((left, right), (right, left)):
        if one in _BESIDE_FLOATS:
            return other in _BESIDE_FLOATS[one]
    digits = [_digits(left), _digits(right)]
    known = [each for each in digits if each is not None]
    if len(known) < len(digits):
        return False
    whole, fraction = max(w for w, _ in known), max(f for _, f in known)
    return whole + fraction <= _MAX_PRECISION


def _digits(type_name: str) -> tuple[int, int] | None:
    """Digits before and behind the point; None if it is no exact number."""
    if type_name in _DIGITS:
        return _DIGITS[type_name], 0
    found = _DECIMAL.fullmatch(type_name)
    return (int(found[1]) - int(found[2]), int(found[2])) if found else None
