"""Computes the figures that the checks need, in one aggregation over the persisted rows."""

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
    """Figures about all rows after the steps.

    Attributes:
        rows: Number of rows, including dropped ones.
        kept: Number of rows that no filter dropped; most other figures are about these.
        splits: Number of rows by split.
        dropped: Number of dropped rows by filter.
        null_keys: Number of rows with a null in a key column or without a split.
        non_null: Number of rows with a value, by column, for the label and the columns of the contract.
        not_finite: Number of NaN and infinite values, by float column.
        replaced: Number of NaN and infinite values that became null, by column, including dropped rows.
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
    """The names of expectations by the column that they check."""
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
    """Compute every figure for the guards and the run record, in one Spark job.

    Args:
        frame: All rows of the flow, arranged and persisted.
        flow: The flow after the steps; it knows the marks that rows may have.
        key: The key's columns.
        contract: Values of the columns that it names are counted.
        label: Another column whose values are counted.
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
        **{("float", name): is_kept() & is_not_finite(F.col(quoted(name))) for name in floats},
        **{("replaced", name): had_not_finite(name) for name in flow.floats},
    }
    with mapped_actions("the steps"):
        row = frame.select(*(F.count_if(condition) for condition in figures.values())).first()
    counts = dict(zip(figures, row or (), strict=True))

    def counts_of(kind: str) -> dict[str, int]:
        return {name: count for (of, name), count in counts.items() if of == kind}

    return Statistics(
        rows=counts["rows", ""],
        kept=counts["kept", ""],
        null_keys=counts["null_keys", ""],
        splits=counts_of("split"),
        dropped=counts_of("dropped"),
        non_null=counts_of("value"),
        not_finite=counts_of("float"),
        replaced=add(flow.not_finite, counts_of("replaced")),
    )


def find_empty(frame: "DataFrame", columns: list[str]) -> list[str]:
    """Find the columns without a single value; usually the first rows are enough to find none.

    Args:
        frame: Kept rows, persisted.
        columns: Names of the columns to check.
    """
    with mapped_actions("the steps"):
        # Only whether there is a value: Python cannot hold every timestamp of Spark.
        rows = frame.select(*(F.col(quoted(name)).isNull() for name in columns)).limit(PEEKED_ROWS).collect()
        candidates = [name for n, name in enumerate(columns) if rows and all(row[n] for row in rows)]
        if not candidates:
            return []
        counts = frame.agg(*(F.count(quoted(name)) for name in candidates)).collect()[0]
    return [name for name, count in zip(candidates, counts, strict=True) if not count]
