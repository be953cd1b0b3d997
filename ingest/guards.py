"""What is checked before Great Expectations is asked, since it passes empty, all-null and mistyped columns.

All figures come from one aggregation over the persisted rows; uniqueness of the key takes another.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, FloatType

from ingest.arrange import HASH
from ingest.columns import quoted
from ingest.errors import ContractUnfit, KeyBroken, TooManyFiltered
from ingest.failures import Failure
from ingest.flow import DROPPED, Flow, add, had_not_finite, is_kept
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
PEEKED_ROWS: Final = 100
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
        non_null: Rows with a value, by column of the contract and the label.
        not_finite: NaN and infinite values, by float column.
        replaced: NaN and infinite values that became null, by column; dropped rows count too.
    """

    rows: int
    kept: int
    splits: Mapping[str, int]
    dropped: Mapping[str, int]
    null_keys: int
    non_null: Mapping[str, int]
    not_finite: Mapping[str, int]
    replaced: Mapping[str, int]


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


def measure(
    frame: "DataFrame", flow: Flow, key: tuple[str, ...], contract: Contract, label: str | None = None
) -> Statistics:
    """Take every figure that the guards and the accounts need, in one job.

    Args:
        frame: All rows of the flow, arranged and persisted.
        flow: Names what rows may be marked with.
        key: The key's columns.
        contract: Names columns to count the values of.
        label: Another such column.
    """
    counted = dict.fromkeys([*contract_columns(contract), *([label] if label else [])])
    floats = [f.name for f in frame.schema if isinstance(f.dataType, FloatType | DoubleType)]
    null_key = F.col(SPLIT).isNull()
    for name in key:
        null_key = null_key | F.col(quoted(name)).isNull()
    figures: dict[tuple[str, str], Column] = {
        ("rows", ""): F.lit(True),
        ("kept", ""): is_kept(),
        ("null_keys", ""): is_kept() & null_key,
        **{("split", name): is_kept() & (F.col(SPLIT) == name) for name in SPLITS},
        **{("dropped", name): F.col(quoted(DROPPED)) == name for name in flow.filters},
        **{("value", name): is_kept() & F.col(quoted(name)).isNotNull() for name in counted},
        **{("float", name): is_kept() & _not_finite(F.col(quoted(name))) for name in floats if name not in flow.floats},
        **{("replaced", name): had_not_finite(name) for name in flow.floats},
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
        replaced=add(flow.not_finite, family("replaced")),
    )


def find_empty(frame: "DataFrame", columns: list[str]) -> list[str]:
    """Columns without a single value; nearly always some rows tell that there are none, and the rest is not read.

    Args:
        frame: Kept rows, persisted.
        columns: Names to look at.
    """
    with mapped_actions("the steps"):
        rows = frame.select(*map(quoted, columns)).limit(PEEKED_ROWS).collect()
        doubtful = [name for n, name in enumerate(columns) if rows and all(row[n] is None for row in rows)]
        if not doubtful:
            return []
        counts = frame.agg(*(F.count(quoted(name)) for name in doubtful)).collect()[0]
    return [name for name, count in zip(doubtful, counts, strict=True) if not count]


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


def check_new_keys(frame: "DataFrame", table: "DataFrame", key: tuple[str, ...]) -> None:
    """Refuse rows whose key the table holds already.

    Args:
        frame: Kept rows, persisted; their own keys are unique.
        table: The rows that they would be added to.
        key: The key's columns.

    Raises:
        KeyBroken: With examples.
    """
    names = [quoted(name) for name in key]
    with mapped_actions("the key"):
        doubles = table.select(*names).join(frame.select(*names), list(key), "left_semi")
        first = doubles.limit(MAX_EXAMPLES).collect()
        if first:
            examples = [str(row.asDict()) for row in first]
            reason = "rows have a key that the table holds already"
            raise KeyBroken(key, reason=reason, count=doubles.count(), examples=examples)


def find_failures(
    contract: Contract, statistics: Statistics, label: str | None = None, before: int = 0
) -> list[Failure]:
    """The guards that did not hold.

    Args:
        contract: Its columns must have values, whatever its expectations say.
        statistics: Of the rows.
        label: A column that must have values too.
        before: Rows that the table has already.
    """
    failures = []
    kept = statistics.kept
    if before + kept < contract.min_rows:
        failures.append(Failure("min_rows", reason=f"expected {contract.min_rows} rows, found {before + kept}"))
    if not kept:
        return failures  # of nothing there is nothing more to say
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


def check_filtered(filters: Mapping[str, int], entered: int, allowed: float) -> None:
    """Hold filters, inner joins and functions to the share of rows that they may drop.

    Args:
        filters: Rows dropped, by what dropped them.
        entered: Well-formed rows at the start of the steps.
        allowed: Largest share.

    Raises:
        TooManyFiltered: They dropped more.
    """
    if sum(filters.values()) > allowed * entered:
        raise TooManyFiltered(filters, rows=entered, allowed=allowed)
