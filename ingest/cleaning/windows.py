"""Checks window functions that depend on the order of rows: with ties, two runs could give different results."""

from typing import TYPE_CHECKING, Final

import sqlglot
from pyspark.sql import functions as F
from sqlglot import exp
from sqlglot.errors import SqlglotError

from ingest.errors import ExpressionInvalid, OrderTied
from ingest.spark.errors import mapped_actions, mapped_analysis

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_BY_ORDER: Final = (
    exp.RowNumber, exp.Ntile, exp.Lag, exp.Lead, exp.First, exp.FirstValue, exp.Last, exp.LastValue, exp.NthValue,
    exp.AnyValue, exp.ArrayAgg,
)  # fmt: skip
"""Functions whose result depends on which of two tied rows comes first, unlike `rank` and sums."""


def windows_of(expression: str) -> list[exp.Window]:
    """The windows of an expression; none if it cannot be parsed, because Spark reports that better."""
    try:
        return list(sqlglot.parse_one(f"({expression}\n)", dialect="spark").find_all(exp.Window))
    except SqlglotError:
        return []


def check_order(frame: "DataFrame", window: exp.Window, where: str, expression: str) -> None:
    """Refuse a window whose result is not deterministic.

    Args:
        frame: The rows; they are counted only if their order matters.
        window: The function with its window.
        where: Key of the step, for messages.
        expression: As the user wrote it.

    Raises:
        ExpressionInvalid: The order matters, but there is no ORDER BY.
        OrderTied: Rows are tied in the order.
    """
    best = window.this.find(exp.ArgMax, exp.ArgMin)
    if not best and not _counts_rows(window) and not window.this.find(*_BY_ORDER):
        return
    order = window.args.get("order")
    if best:
        ranks = [best.expression]
    elif order is not None:
        ranks = [ordered.this for ordered in order.expressions]
    else:
        reason = "its result depends on the order of rows; add an ORDER BY that includes the key"
        raise ExpressionInvalid(where, expression, reason=reason)
    columns = [*(window.args.get("partition_by") or ()), *ranks]
    with mapped_analysis(where, expression):
        groups = frame.groupBy(*(F.expr(column.sql("spark")).alias(f"#{n}") for n, column in enumerate(columns)))
        tied = groups.count().where("count > 1").agg(F.sum("count"))
    with mapped_actions(where):
        row = tied.first()
    if row and row[0]:
        raise OrderTied(where, window.sql("spark"), rows=row[0])


def _counts_rows(window: exp.Window) -> bool:
    """Whether the window frame is bounded by a number of rows before or after the current row."""
    spec = window.args.get("spec")
    if spec is None or str(spec.args.get("kind")).upper() != "ROWS":
        return False
    return not all(str(spec.args.get(end)).upper() == "UNBOUNDED" for end in ("start", "end"))
