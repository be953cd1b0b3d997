"""What is checked before Great Expectations is asked, since it passes empty, all-null and mistyped columns.

All figures come from one aggregation over the persisted rows; uniqueness of the key takes another.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, FloatType

from ingest.arrange import HASH
from ingest.delimited import quoted
from ingest.errors import ContractUnfit, Failure, KeyBroken
from ingest.flow import DROPPED, is_kept
from ingest.spark_errors import mapped_actions
from ingest.split import SPLITS
from pipelines.config.flow import SPLIT
from pipelines.config.sections import Contract
from pipelines.errors import MAX_EXAMPLES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import StructType

NULL_RULES: Final = frozenset({"expect_column_values_to_be_null"})
VALUE_ARGUMENTS: Final = ("min_value", "max_value", "value_set", "sum_total", "double_sided")
COUNTING: Final = ("value_lengths", "unique_value_count", "proportion", "row_count", "column_count")
"""Parts of the names of expectations whose bounds are counts, whatever the column's type."""


@dataclass(frozen=True)
class Statistics:
    """One pass over all rows that reached the end of the steps.

    Attributes:
        rows: Rows, dropped ones too.
        kept: Rows that no filter dropped; the other figures are about these.
        splits: Rows by split.
        dropped: Rows by filter.
        null_keys: Rows with a null in a key column or without a split.
        non_null: Rows with a value, by column of the contract.
        not_finite: NaN and infinite values, by float column.
    """

    rows: int
    kept: int
    splits: Mapping[str, int]
    dropped: Mapping[str, int]
    null_keys: int
    non_null: Mapping[str, int]
    not_finite: Mapping[str, int]


def contract_columns(contract: Contract) -> dict[str, list[str]]:
    """Expectations by the column that they name."""
    columns: dict[str, list[str]] = {}
    for item in contract.expectations:
        for rule, arguments in item.items():
            for column in _columns_of(arguments):
                columns.setdefault(column, []).append(rule)
    return columns


def _columns_of(arguments: Mapping[str, Any]) -> Iterable[str]:
    for name in ("column", "column_A", "column_B"):
        if isinstance(arguments.get(name), str):
            yield arguments[name]
    yield from arguments.get("column_list") or ()


def check_fit(contract: Contract, schema: "StructType") -> None:
    """Refuse expectations that no data could fail.

    Raises:
        ContractUnfit: A column is not there, a number is compared with a string, nothing is compared at all.
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
        raise ContractUnfit(rule, reason="mostly: 0 holds for any data")
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


def measure(frame: "DataFrame", filters: Iterable[str], key: tuple[str, ...], contract: Contract) -> Statistics:
    """Take every figure that the guards and the accounts need, in one job.

    Args:
        frame: All rows with `DROPPED` and the split, persisted.
        filters: Names that `DROPPED` may hold.
        key: The key's columns.
        contract: Names the columns to look at.
    """
    names = list(filters)
    floats = [f.name for f in frame.schema if isinstance(f.dataType, FloatType | DoubleType)]
    columns = list(contract_columns(contract))
    null_key = F.col(SPLIT).isNull()
    for name in key:
        null_key = null_key | F.col(quoted(name)).isNull()
    figures: dict[tuple[str, str], Column] = {
        ("rows", ""): F.lit(True),
        ("kept", ""): is_kept(),
        ("null_keys", ""): is_kept() & null_key,
        **{("split", name): is_kept() & (F.col(SPLIT) == name) for name in SPLITS},
        **{("dropped", name): F.col(quoted(DROPPED)) == name for name in names},
        **{("value", name): is_kept() & F.col(quoted(name)).isNotNull() for name in columns},
        **{("float", name): is_kept() & _not_finite(F.col(quoted(name))) for name in floats},
    }
    with mapped_actions("the steps"):
        row = frame.select(*(F.count_if(condition) for condition in figures.values())).first()
    counts = dict(zip(figures, row or (), strict=True))

    def family(kind: str) -> dict[str, int]:
        return {name: count for (of, name), count in counts.items() if of == kind}

    return Statistics(
        rows=counts["rows", ""],
        kept=counts["kept", ""],
        null_keys=counts["null_keys", ""],
        splits=family("split"),
        dropped=family("dropped"),
        non_null=family("value"),
        not_finite=family("float"),
    )


def _not_finite(column: "Column") -> "Column":
    return F.isnan(column) | (F.abs(column) == float("inf"))


def check_key(frame: "DataFrame", key: tuple[str, ...], statistics: Statistics) -> None:
    """Hold the key to its promise.

    Args:
        frame: Kept rows, persisted, partitioned by the key's hash.
        key: The key's columns.
        statistics: Of the same rows.

    Raises:
        KeyBroken: A null or a value that stands twice, with examples.
    """
    names = [quoted(name) for name in key]
    if statistics.null_keys:
        condition = F.col(SPLIT).isNull()
        for name in names:
            condition = condition | F.col(name).isNull()
        rows = frame.where(condition).select(*names, SPLIT).limit(MAX_EXAMPLES).collect()
        reason = "rows have a null in the key or in the split's column"
        raise KeyBroken(
            key,
            reason=reason,
            count=statistics.null_keys,
            examples=[str(row.asDict()) for row in rows],
        )
    with mapped_actions("the key"):
        # One number tells keys apart but for accidents, and rows lie by it already: nothing is moved.
        if not frame.groupBy(HASH_COLUMN).count().where("count > 1").limit(1).collect():
            return
        doubles = frame.groupBy(HASH_COLUMN, *names).count().where("count > 1")
        first = doubles.drop(HASH).limit(MAX_EXAMPLES).collect()
        if first:
            count = doubles.agg(F.sum("count")).collect()[0][0]
            examples = [str(row.asDict()) for row in first]
            raise KeyBroken(key, reason="rows share their key with another", count=count, examples=examples)


HASH_COLUMN: Final = quoted(HASH)


def find_failures(contract: Contract, statistics: Statistics) -> list[Failure]:
    """The guards that did not hold."""
    failures = []
    kept = statistics.kept
    if kept < contract.min_rows:
        failures.append(Failure("min_rows", reason=f"expected {contract.min_rows} rows, found {kept}"))
    if not kept:
        return failures  # of nothing there is nothing more to say
    for column, rules in contract_columns(contract).items():
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
