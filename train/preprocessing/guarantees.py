"""Reads from the contract what is true for every row of a table: columns without nulls, ranges, sets of values."""

from collections.abc import Iterator, Mapping
from typing import Any

from millrace.features.spec import Domain, Dtype
from millrace.features.timestamps import microseconds_of

Expectations = tuple[Mapping[str, Mapping[str, Any]], ...]


def never_null(expectations: Expectations) -> set[str]:
    """Columns for which the contract excludes missing values."""
    return {
        str(arguments["column"])
        for name, arguments in _rules_without_exceptions(expectations)
        if name == "expect_column_values_to_not_be_null"
    }


def domain_of(column: str, dtype: Dtype, expectations: Expectations) -> Domain | None:
    """The range and set of values that all rules together allow in a column; None if no rule limits them.

    Args:
        column: Name of the column.
        dtype: Data type of the input.
        expectations: Of the contract.
    """
    domain = Domain()
    for name, arguments in _rules_without_exceptions(expectations):
        if arguments.get("column") != column:
            continue
        if name == "expect_column_values_to_be_between":
            domain = _narrow(domain, arguments, dtype)
        elif name in ("expect_column_values_to_be_in_set", "expect_column_distinct_values_to_be_in_set"):
            domain = _restrict(domain, arguments.get("value_set"), dtype)
    return None if domain == Domain() else domain


def _rules_without_exceptions(expectations: Expectations) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rules that hold for every row: without `mostly` below 1 and without `row_condition`."""
    for item in expectations:
        for name, arguments in item.items():
            if arguments.get("mostly", 1) == 1 and not arguments.get("row_condition"):
                yield name, arguments


def _narrow(domain: Domain, arguments: Mapping[str, Any], dtype: Dtype) -> Domain:
    low, high = _bound(arguments.get("min_value"), dtype), _bound(arguments.get("max_value"), dtype)
    changes: dict[str, Any] = {}
    # Of two equal bounds, the one that excludes the bound itself is narrower.
    strict = bool(arguments.get("strict_min"))
    if low is not None and (domain.min is None or (low, strict) > (domain.min, domain.excludes_min)):
        changes |= {"min": low, "excludes_min": strict}
    strict = bool(arguments.get("strict_max"))
    if high is not None and (domain.max is None or (-high, strict) > (-domain.max, domain.excludes_max)):
        changes |= {"max": high, "excludes_max": strict}
    return domain.model_copy(update=changes)


def _bound(value: Any, dtype: Dtype) -> int | float | None:
    if dtype == "timestamp":
        return _microseconds(value) if isinstance(value, str) else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and dtype in ("float32", "float64", "int64") else None


def _microseconds(text: str) -> int | None:
    try:
        return microseconds_of(text)
    except (ValueError, OverflowError):
        return None


def _restrict(domain: Domain, values: Any, dtype: Dtype) -> Domain:
    if not isinstance(values, list) or dtype == "timestamp":
        return domain
    # A model reads a boolean as 0 or 1. A set with values of another type is ignored: a server could not check it.
    types = str if dtype == "string" else int | float
    if not all(isinstance(value, types) for value in values):
        return domain
    kept = [int(value) if isinstance(value, bool) else value for value in values]
    if domain.values is not None:
        kept = [value for value in domain.values if value in kept]
    return domain.model_copy(update={"values": tuple(dict.fromkeys(kept))})
