"""The step `aggregate`: one row for each group of rows."""

import contextlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from ingest.cleaning.flow import Flow, add
from ingest.spark.columns import quoted
from ingest.spark.errors import mapped_actions, mapped_analysis
from millrace.config.sections.ingest import Aggregate

if TYPE_CHECKING:
    from pyspark.sql import Column

logger = logging.getLogger(__name__)


def aggregate(flow: Flow, step: Aggregate, where: str, stack: contextlib.ExitStack) -> Flow:
    """Replace the rows by one row for each group; the rows that this saves count as filtered, under `step.name`.

    Raises:
        ExpressionInvalid: Spark cannot analyse an expression.
        ExpressionFailed: An expression fails for some row.
    """
    settled = flow.settle(stack)
    before = settled.kept.persist()
    stack.callback(before.unpersist)
    columns: list[Column] = []
    for name, expression in step.columns.items():
        with mapped_analysis(f"{where}.columns.{name}", expression):
            columns.append(F.expr(f"(\n{expression}\n)").alias(name))
            before.groupBy(*map(quoted, step.by)).agg(columns[-1])
    after = before.groupBy(*map(quoted, step.by)).agg(*columns).persist()
    stack.callback(after.unpersist)
    with mapped_actions(where):
        rows_before, rows_after = before.count(), after.count()
    logger.info("%s: %d rows became %d", step.name, rows_before, rows_after)
    merged = add(settled.filtered, {step.name: rows_before - rows_after})
    result = Flow.start(after).finite(*step.columns)
    return replace(result, filtered=merged, not_finite=settled.not_finite)
