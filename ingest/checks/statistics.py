"""The figures that the checks need, from one aggregation over the persisted rows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, FloatType

from ingest.cleaning.flow import DROPPED, Flow, add, had_not_finite, is_kept
from ingest.spark.columns import is_not_finite, quoted
from ingest.spark.errors import mapped_actions
from ingest.table.split import SPLITS
from millrace.config.checks.flow import SPLIT
from millrace.config.sections.ingest import Contract

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

PEEKED_ROWS: Final = 100


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
    types = {field.name: field.dataType for field in frame.schema}
    floats = [n for n, t in types.items() if isinstance(t, FloatType | DoubleType) and n not in flow.floats]
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
        **{
            ("float", name): is_kept() & is_not_finite(F.col(quoted(name)))
            for name in floats
            if name not in flow.floats
        },
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
