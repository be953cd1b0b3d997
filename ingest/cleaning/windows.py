"""Window functions that pick rows by their order: without a total order two runs would pick different rows."""

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
"""Functions whose result depends on which of two equal rows comes first; `rank` and sums do not."""


def windows_of(expression: str) -> list[exp.Window]:
    """The windows of an expression; none where it cannot be parsed, which Spark will say better."""
    try:
        return list(sqlglot.parse_one(f"({expression}\n)", dialect="spark").find_all(exp.Window))
    except SqlglotError:
        return []


def check_order(frame: "DataFrame", window: exp.Window, where: str, expression: str) -> None:
    """Refuse a window whose result is a matter of chance.

    Args:
        frame: The rows that it looks at; counted only where their order matters.
        window: Function and window.
        where: The step.
        expression: As the user wrote it.

    Raises:
        ExpressionInvalid: Its order matters and is not given.
        OrderTied: Rows share a place in it.
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
        reason = "its result depends on the order of rows; add ORDER BY, and the key to it"
        raise ExpressionInvalid(where, expression, reason=reason)
    columns = [*(window.args.get("partition_by") or ()), *ranks]
    with mapped_analysis(where, expression):
        places = frame.groupBy(*(F.expr(column.sql("spark")).alias(f"#{n}") for n, column in enumerate(columns)))
        tied = places.count().where("count > 1").agg(F.sum("count"))
    with mapped_actions(where):
        row = tied.first()
    if row and row[0]:
        raise OrderTied(where, window.sql("spark"), rows=row[0])


def _counts_rows(window: exp.Window) -> bool:
    """Whether its frame ends a number of rows before or after the current one."""
    spec = window.args.get("spec")
    if spec is None or str(spec.args.get("kind")).upper() != "ROWS":
        return False
    return not all(str(spec.args.get(end)).upper() == "UNBOUNDED" for end in ("start", "end"))
