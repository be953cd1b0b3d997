"""Checks before the contract runs: Great Expectations passes empty tables, columns of nulls and wrong types.

All figures come from one aggregation over the persisted rows; the uniqueness of the key takes another one.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ingest.checks.failures import Failure
from ingest.checks.statistics import Statistics, contract_columns
from ingest.errors import ContractUnfit, TooManyFiltered
from millrace.config.sections.ingest import UPSERT, Contract, Ingest

if TYPE_CHECKING:
    from pyspark.sql.types import StructType

NULL_RULES: Final = frozenset({"expect_column_values_to_be_null"})
VALUE_ARGUMENTS: Final = ("min_value", "max_value", "value_set", "sum_total", "double_sided")

COUNTING: Final = ("value_lengths", "unique_value_count", "proportion", "row_count", "column_count")
"""Parts of the names of expectations whose bounds are counts, whatever the column's type."""


def check_fit(contract: Contract, schema: "StructType") -> None:
    """Refuse expectations that cannot fail for any data.

    Raises:
        ContractUnfit: A column does not exist, a number is compared with a string, or nothing is compared.
    """
    types = {field.name: field.dataType.simpleString() for field in schema}
    for column, rules in contract_columns(contract).items():
        if column not in types:
            raise ContractUnfit(rules[0], reason=f"there is no column '{column}'")
    for item in contract.expectations:
        for rule, arguments in item.items():
            _check_arguments(rule, arguments, types)


def _check_arguments(rule: str, arguments: Mapping[str, Any], types: Mapping[str, str]) -> None:
    mostly = arguments.get("mostly", 1)
    if isinstance(mostly, int | float) and mostly <= 0:
        raise ContractUnfit(rule, reason="with mostly: 0 it passes for any data")
    if "value_set" in arguments and not arguments["value_set"]:
        raise ContractUnfit(rule, reason="value_set is empty")
    column = arguments.get("column")
    if not isinstance(column, str) or any(word in rule for word in COUNTING):
        return
    for name in VALUE_ARGUMENTS:
        values = arguments.get(name)
        for value in values if isinstance(values, list | tuple) else [values]:
            if value is not None and _clash(value, types[column]):
                reason = f"{name} compares {value!r} with column '{column}' of type {types[column]}"
                raise ContractUnfit(rule, reason=f"{reason}; cast it in a derive step")


def _clash(value: object, type_name: str) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if type_name == "string":
        return is_number or isinstance(value, bool)
    if type_name in ("date", "timestamp", "boolean", "binary"):
        return is_number
    return isinstance(value, str)


def find_failures(
    contract: Contract, statistics: Statistics, label: str | None = None, before: int = 0
) -> list[Failure]:
    """Find the guards that fail.

    Args:
        contract: Every column that it names must have values.
        statistics: Figures about the rows.
        label: Another column that must have values.
        before: Number of rows that the table has already.
    """
    failures = []
    kept = statistics.rows
    if before + kept < contract.min_rows:
        failures.append(Failure("min_rows", reason=f"expected {contract.min_rows} rows, found {before + kept}"))
    if not kept:
        return failures  # without rows no other guard applies
    required = {label: ["label"]} if label else {}
    for column, rules in (required | contract_columns(contract)).items():
        count = statistics.non_null[column]
        if NULL_RULES.issuperset(rules):
            continue
        if not count or count < contract.min_non_null * kept:
            reason = f"expected values in a share of {contract.min_non_null:g}, found them in {count} rows of {kept}"
            failures.append(Failure("min_non_null", column, kept - count, reason))
    for column, count in statistics.not_finite.items():
        if count:
            failures.append(Failure("finite", column, count, "NaN or infinite"))
    return failures


def check_filtered(filters: Mapping[str, int], good: int, ingest: Ingest) -> None:
    """Check that filters, inner joins, functions and `dedupe` dropped at most the allowed share of the rows.

    Behind an `aggregate` step the rows are its groups, so the steps before and behind it are checked apart.

    Args:
        filters: Number of rows that each step dropped or merged, by its name.
        good: Number of well-formed rows of the base source.
        ingest: The steps, and the allowed share.

    Raises:
        TooManyFiltered: They dropped more rows.
    """
    left = {name: count for name, count in filters.items() if name != UPSERT}
    dropped: dict[str, int] = {}
    for step in ingest.steps:
        if step.aggregate:
            _check_share(dropped, good, ingest.max_filtered)
            good -= sum(dropped.values()) + left.pop(step.aggregate.name, 0)
            dropped = {}
        else:
            names = [each.name for each in (step.filter, step.dedupe) if each]
            names += [f"join:{step.join.source}"] if step.join else []
            names += [step.call.function] if step.call else []
            dropped |= {name: left.pop(name) for name in names if name in left}
    _check_share(dropped | left, good, ingest.max_filtered)


def _check_share(dropped: Mapping[str, int], entered: int, allowed: float) -> None:
    if sum(dropped.values()) > allowed * entered:
        raise TooManyFiltered(dropped, rows=entered, allowed=allowed)
