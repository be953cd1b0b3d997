"""Finds rows that stand for the same thing: the step `dedupe`, and the key of tables without a key."""

import contextlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from pyspark.sql import Window
from pyspark.sql import functions as F

from ingest.cleaning.flow import DROPPED, Flow, is_kept
from ingest.spark.columns import quoted
from millrace.config.sections.ingest import DUPLICATES, ROW_KEY, UPSERT, Dedupe, Ingest, Upsert

if TYPE_CHECKING:
    from pyspark.sql import Column

logger = logging.getLogger(__name__)

_NUMBER: Final = "#number"


def dedupe(flow: Flow, step: Dedupe, stack: contextlib.ExitStack) -> Flow:
    """Keep one row of each group with the same values; a row with a null among these is no duplicate.

    Of rows with the same value in `step.order`, or without an order, the one with the least digest of all columns is
    kept, so that every run keeps the same.
    """
    flow = flow.settle(stack) if flow.filters else flow
    by = [F.col(quoted(name)) for name in step.by]
    order = [digest_of_row(F.struct(*map(quoted, sorted(flow.columns))))]
    if step.order is not None:
        column = F.col(quoted(step.order))
        order.insert(0, column.desc_nulls_last() if step.keep == "newest" else column.asc_nulls_last())
    number = F.row_number().over(Window.partitionBy(*by).orderBy(*order))
    is_known = F.lit(True)
    for column in by:
        is_known = is_known & column.isNotNull()
    return _drop(flow, is_known & (number > 1), step.name)


def add_row_key(flow: Flow, ingest: Ingest, stack: contextlib.ExitStack) -> Flow:
    """Add `ROW_KEY`, a digest of all columns; equal rows are numbered, or dropped all but one."""
    flow = flow.settle(stack) if flow.filters else flow
    digest = digest_of_row(F.struct(*map(quoted, sorted(flow.columns))))
    frame = flow.frame.withColumn(ROW_KEY, digest)
    key = F.col(quoted(ROW_KEY))
    number = F.row_number().over(Window.partitionBy(key).orderBy(key))  # equal rows have no order
    frame = frame.withColumn(_NUMBER, number)
    if ingest.duplicates == "drop":
        flow = _drop(flow.with_frame(frame), F.col(quoted(_NUMBER)) > 1, DUPLICATES)
        return flow.with_frame(flow.frame.drop(_NUMBER))
    numbered = F.when(F.col(quoted(_NUMBER)) == 1, key).otherwise(F.concat_ws("-", key, F.col(quoted(_NUMBER))))
    return flow.with_frame(frame.withColumn(ROW_KEY, numbered).drop(_NUMBER))


def keep_newest(flow: Flow, key: Sequence[str], upsert: Upsert, stack: contextlib.ExitStack) -> Flow:
    """Keep the newest of the rows with the same key."""
    return dedupe(flow, Dedupe(by=tuple(key), keep="newest", order=upsert.order, name=UPSERT), stack)


def _drop(flow: Flow, condition: "Column", name: str) -> Flow:
    marks = F.when(is_kept() & condition, F.lit(name)).otherwise(F.col(quoted(DROPPED)))
    return flow.with_frame(flow.frame.withColumn(DROPPED, marks), name)


def digest_of_row(columns: "Column") -> "Column":
    """A digest of the names and values of the fields of a struct; the fields should be sorted by name."""
    # By default the text of a timestamp has no microseconds.
    seconds = "yyyy-MM-dd'T'HH:mm:ss.SSSSSS"
    options = {"ignoreNullFields": "false", "timestampFormat": f"{seconds}XXX", "timestampNTZFormat": seconds}
    return F.md5(F.to_json(columns, options))
