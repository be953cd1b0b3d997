"""The figures that the checks and the run record need: of the job that writes the rows, and of the written files."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, FloatType

from ingest.checks.footers import Footers
from ingest.cleaning.flow import DROPPED, NOT_FINITE, Flow, add, had_not_finite, is_kept
from ingest.spark.columns import is_not_finite, quoted
from ingest.spark.errors import mapped_actions
from ingest.spark.observed import Observed
from millrace.config.checks.flow import SPLIT
from millrace.config.sections.ingest import Contract
from millrace.errors import StorageError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

logger = logging.getLogger(__name__)

PEEKED_ROWS: Final = 100


@dataclass(frozen=True)
class Outcomes:
    """What became of all rows after the steps.

    Attributes:
        kept: Number of rows that no filter dropped.
        dropped: Number of dropped rows by filter.
        replaced: Number of NaN and infinite values that became null, by column, including dropped rows.
    """

    kept: int
    dropped: Mapping[str, int]
    replaced: Mapping[str, int]


@dataclass(frozen=True)
class Statistics:
    """Figures about the kept rows.

    Attributes:
        rows: Number of rows.
        null_keys: Number of rows with a null in a key column or without a split.
        non_null: Number of rows with a value, by column, for the label and the columns of the contract.
        not_finite: Number of NaN and infinite values, by float column.
    """

    rows: int
    null_keys: int
    non_null: Mapping[str, int]
    not_finite: Mapping[str, int]


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


def observe(frame: "DataFrame", flow: Flow) -> Observed:
    """Have the outcomes computed by the first job that uses the rows.

    There are few figures, because Spark computes such figures by interpreting expressions: one for each column of the
    contract and each float column took longer than all joins of the flights.

    Args:
        frame: All rows of the flow.
        flow: The flow after the steps; it knows the marks that rows may have.
    """
    is_replaced = F.col(quoted(NOT_FINITE)).isNotNull() if flow.floats else F.lit(False)
    conditions: dict[str, Column] = {
        "rows": F.lit(True),
        "kept": is_kept(),
        "replaced": is_replaced,
        **{f"dropped {name}": F.col(quoted(DROPPED)) == name for name in flow.filters},
    }
    return Observed(frame, {name: F.count_if(condition) for name, condition in conditions.items()})


def find_outcomes(observed: Observed, flow: Flow, rows: int, kept: int) -> Outcomes:
    """The outcomes, from the job that used the rows, or, if these cannot be right, from a job of their own.

    Args:
        observed: Result of `observe`.
        flow: The flow after the steps.
        rows: The right number of rows.
        kept: The right number of kept rows.

    Raises:
        StorageError: The number of kept rows is another one.
    """
    figures = observed.get()
    if figures is None or (figures["rows"], figures["kept"]) != (rows, kept):
        figures = observed.count("the steps")
    if figures["kept"] != kept:
        raise StorageError(f"the new files have {kept} rows, expected {figures['kept']}")
    replaced = dict.fromkeys(flow.floats, 0)
    if figures["replaced"]:
        with mapped_actions("the steps"):
            row = flow.frame.select(*(F.count_if(had_not_finite(name)) for name in flow.floats)).first()
        replaced = dict(zip(flow.floats, row or (), strict=True))
    return Outcomes(
        kept=figures["kept"],
        dropped={name: figures[f"dropped {name}"] for name in flow.filters},
        replaced=add(flow.not_finite, replaced),
    )


def measure(
    frame: "DataFrame", rows: int, key: Sequence[str], contract: Contract, label: str | None = None
) -> Statistics:
    """Compute the figures for the guards, in one Spark job.

    Args:
        frame: Kept rows, with `SPLIT`.
        rows: Their number.
        key: The key's columns.
        contract: Values of the columns that it names are counted.
        label: Another column whose values are counted.
    """
    counted = dict.fromkeys([*contract_columns(contract), *([label] if label else [])])
    floats = [field.name for field in frame.schema if isinstance(field.dataType, FloatType | DoubleType)]
    null_key = F.col(SPLIT).isNull()
    for name in key:
        null_key = null_key | F.col(quoted(name)).isNull()
    figures: dict[tuple[str, str], Column] = {
        ("null_keys", ""): F.count_if(null_key),
        **{("value", name): F.count(quoted(name)) for name in counted},
        **{("float", name): F.count_if(is_not_finite(F.col(quoted(name)))) for name in floats},
    }
    with mapped_actions("the steps"):
        row = frame.select(*figures.values()).first()
    counts = dict(zip(figures, row or (), strict=True))

    def counts_of(kind: str) -> dict[str, int]:
        return {name: count for (of, name), count in counts.items() if of == kind}

    return Statistics(rows, counts["null_keys", ""], counts_of("value"), counts_of("float"))


def of_footers(
    footers: Footers, rows: int, key: Sequence[str], contract: Contract, label: str | None = None
) -> Statistics | None:
    """The figures from the footers of the files; None if they do not tell: then `measure` has to.

    Args:
        footers: Facts about all files with the rows, each of which has a split.
        rows: Their number.
        key: The key's columns.
        contract: Values of the columns that it names are counted.
        label: Another column whose values are counted.
    """
    counted = dict.fromkeys([*contract_columns(contract), *([label] if label else [])])
    nulls = {**footers.nulls, SPLIT: 0}
    if footers.not_finite or not {*counted, *key} <= nulls.keys() or any(nulls[name] for name in key):
        return None
    return Statistics(rows, 0, {name: rows - nulls[name] for name in counted}, {})


def find_empty(frame: "DataFrame", columns: list[str], footers: Footers | None = None, count: int = 0) -> list[str]:
    """Find the columns without a single value; without footers, usually the first rows are enough to find none.

    Args:
        frame: Kept rows.
        columns: Names of the columns to check.
        footers: Figures of the files with these rows, if they are known.
        count: Number of these rows.
    """
    if footers is not None and set(columns) <= footers.nulls.keys():
        return [name for name in columns if footers.nulls[name] == count]
    with mapped_actions("the steps"):
        # Only whether there is a value: Python cannot hold every timestamp of Spark.
        rows = frame.select(*(F.col(quoted(name)).isNull() for name in columns)).limit(PEEKED_ROWS).collect()
        candidates = [name for n, name in enumerate(columns) if rows and all(row[n] for row in rows)]
        if not candidates:
            return []
        counts = frame.agg(*(F.count(quoted(name)) for name in candidates)).collect()[0]
    return [name for name, count in zip(candidates, counts, strict=True) if not count]


def warn_of_nulls(outcomes: Outcomes, empty: list[str]) -> dict[str, Any]:
    """Log the values that became null and the columns without values, and return both for the run record."""
    not_finite = {name: count for name, count in outcomes.replaced.items() if count}
    for name, count in not_finite.items():
        logger.warning("column '%s': %d values were NaN or infinite and became null", name, count)
    if empty:
        logger.warning("columns without a single value: %s", ", ".join(empty))
    return {"not_finite": not_finite, "empty_columns": empty}
