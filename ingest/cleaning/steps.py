"""Applies the cleaning steps of a product to the rows; most of them start no Spark job until the rows are needed."""

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Final

from pyspark.errors import AnalysisException
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType

from ingest.cleaning.aggregates import aggregate
from ingest.cleaning.calls import apply_call
from ingest.cleaning.duplicates import add_row_key, dedupe, keep_newest
from ingest.cleaning.flow import DROPPED, Flow, is_kept
from ingest.cleaning.windows import check_order, windows_of
from ingest.errors import ExpressionInvalid, RowsMultiplied
from ingest.spark.columns import hash_of, quoted
from ingest.spark.errors import mapped_actions, mapped_analysis
from millrace.config.checks.types import are_comparable
from millrace.config.sections.ingest import Filter, Ingest, Join, Step

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

logger = logging.getLogger(__name__)

_MATCHED: Final = "#matched"


def apply_steps(
    ingest: Ingest, sources: Mapping[str, "DataFrame"], not_unique: set[str], stack: contextlib.ExitStack
) -> Flow:
    """Apply all steps to the good rows of the base source.

    Args:
        ingest: The section with the steps.
        sources: The good rows of each source.
        not_unique: Result of `find_not_unique`.
        stack: Unpersists frames when it closes.

    Raises:
        ConfigError: An expression or a function is wrong.
        DataRejected: A join or a function adds rows.
    """
    context = _Context(sources, not_unique, stack)
    flow = Flow.start(sources[ingest.base])
    for number, step in enumerate(ingest.steps):
        flow = _apply(flow, step, f"ingest.steps.{number}", context)
    if ingest.upsert:
        with mapped_analysis("ingest.upsert.order", ingest.upsert.order):
            return keep_newest(flow, ingest.key_columns, ingest.upsert, stack)
    if ingest.key != "row":
        return flow
    with mapped_analysis("ingest.key", ingest.key):
        return add_row_key(flow, ingest, stack)


@dataclass(frozen=True)
class _Context:
    """What steps need besides the rows.

    Attributes:
        sources: The sources that can be joined.
        not_unique: Joins whose key is not unique in the other source, by `_join_name`.
        stack: Unpersists the frames when it closes.
    """

    sources: Mapping[str, "DataFrame"]
    not_unique: set[str]
    stack: contextlib.ExitStack


def _apply(flow: Flow, step: Step, where: str, context: _Context) -> Flow:
    if step.join:
        return _join(flow, step.join, f"{where}.join", context)
    if step.filter:
        return _filter(flow, step.filter, f"{where}.filter", context.stack)
    if step.call:
        return apply_call(flow.settle(context.stack), step.call, context.stack)
    if step.dedupe or step.aggregate:
        return _merge(flow, step, where, context)
    for name, expression in (step.derive or {}).items():
        flow = _derive(flow, name, expression, f"{where}.derive.{name}", context.stack)
    frame = flow.frame.drop(*(step.drop or ()))
    if not step.rename:
        return flow.with_frame(frame)
    renamed = {old: new for new, old in step.rename.items()}
    return flow.with_frame(
        frame.select(*(F.col(quoted(name)).alias(renamed.get(name, name)) for name in frame.columns))
    )


def _merge(flow: Flow, step: Step, where: str, context: _Context) -> Flow:
    if step.dedupe:
        compared = (*step.dedupe.by, *filter(None, [step.dedupe.order]))
        with mapped_analysis(f"{where}.dedupe", ", ".join(compared)):  # not all types can be compared
            return dedupe(flow, step.dedupe, context.stack)
    return aggregate(flow, step.aggregate, f"{where}.aggregate", context.stack) if step.aggregate else flow


def _derive(flow: Flow, name: str, expression: str, where: str, stack: contextlib.ExitStack) -> Flow:
    flow = _prepare(flow, expression, where, stack)
    # The expression may fail for a dropped row, so it is computed for kept rows only.
    guarded = f"CASE WHEN `{DROPPED}` IS NULL THEN (\n{expression}\n) END"
    return flow.with_frame(_with_column(flow, name, guarded, where, expression)).finite(name)


def _filter(flow: Flow, step: Filter, where: str, stack: contextlib.ExitStack) -> Flow:
    where = f"{where}.keep"
    flow = _prepare(flow, step.keep, where, stack)
    with mapped_analysis(where, step.keep):
        kind = flow.frame.select(F.expr(step.keep)).schema[0].dataType
    if not isinstance(kind, BooleanType):
        raise ExpressionInvalid(
            where, step.keep, reason=f"expected a condition, found a value of {kind.simpleString()}"
        )
    kept = f"WHEN (\n{step.keep}\n) THEN NULL ELSE '{step.name}' END"
    dropped = f"CASE WHEN `{DROPPED}` IS NOT NULL THEN `{DROPPED}` {kept}"
    return flow.with_frame(_with_column(flow, DROPPED, dropped, where, step.keep), step.name)


def _prepare(flow: Flow, expression: str, where: str, stack: contextlib.ExitStack) -> Flow:
    """Remove dropped rows before a window function, which uses other rows, and check that its order has no ties."""
    windows = windows_of(expression)
    if windows and flow.filters:
        flow = flow.settle(stack)
    for window in windows:
        check_order(flow.frame, window, where, expression)
    return flow


def _with_column(flow: Flow, name: str, sql: str, where: str, expression: str) -> "DataFrame":
    with mapped_analysis(where, expression):
        try:
            frame = flow.frame.withColumn(name, F.expr(sql))
        except AnalysisException:
            flow.frame.select(F.expr(expression))  # usually fails too, with an error that quotes the user's expression
            raise
    # The checked rows and the written rows must be the same, and the rows of a rerun too.
    if _is_deterministic(flow.frame) and not _is_deterministic(frame):
        raise ExpressionInvalid(where, expression, reason="gives another value each time; use a hash of the key")
    return frame


def _is_deterministic(frame: "DataFrame") -> bool:
    return bool(frame._jdf.queryExecution().analyzed().deterministic())


def _join(flow: Flow, join: Join, where: str, context: _Context) -> Flow:
    other = context.sources[join.source]
    _check_types(flow, join, where, other)
    keys = [F.col(theirs).alias(f"#on{n}") for n, theirs in enumerate(join.on.values())]
    values = [F.col(theirs).alias(name) for name, theirs in join.columns.items()]
    right = other.select(*keys, *values, F.lit(True).alias(_MATCHED))
    condition = is_kept()
    for number, mine in enumerate(join.on):
        condition = condition & (F.col(quoted(mine)) == F.col(quoted(f"#on{number}")))
    with mapped_analysis(where, join.source):
        joined = flow.frame.join(right, condition, "left")
        if _join_name(join) in context.not_unique:
            _check_multiplies(flow, joined, join)
        columns = [quoted(name) for name in (*flow.columns, *join.columns)]
        if join.how == "left":
            return flow.with_frame(joined.select(*columns, *map(quoted, flow.marks)))
        name = f"join:{join.source}"
        unmatched = is_kept() & F.col(quoted(_MATCHED)).isNull()
        dropped = F.when(unmatched, F.lit(name)).otherwise(F.col(quoted(DROPPED)))
        marks = (quoted(mark) for mark in flow.marks if mark != DROPPED)
        return flow.with_frame(joined.select(*columns, dropped.alias(DROPPED), *marks), name)


def _check_types(flow: Flow, join: Join, where: str, other: "DataFrame") -> None:
    """Refuse to compare types that Spark would cast.

    It would fail at the first string that is no number, and round numbers, so that unequal ones match.
    """
    for mine, theirs in join.on.items():
        left, right = (f.schema[n].dataType.simpleString() for f, n in ((flow.frame, mine), (other, theirs)))
        if not are_comparable(left, right):
            found = f"{mine} ({left}) = {theirs} ({right})"
            raise ExpressionInvalid(f"{where}.on", found, reason="the types differ; derive a column with a cast first")


def uses_rows_once(ingest: Ingest) -> bool:
    """Whether the steps start no Spark job of their own that uses the rows of the base source.

    A join whose key is not unique starts one, too.
    """
    for step in ingest.steps:
        expressions = [step.filter.keep] if step.filter else list((step.derive or {}).values())
        if step.call or step.dedupe or step.aggregate or any(map(windows_of, expressions)):
            return False
        if step.join and step.join.source == ingest.base:
            return False
    return ingest.key != "row" and ingest.upsert is None


def find_not_unique(ingest: Ingest, sources: Mapping[str, "DataFrame"]) -> set[str]:
    """Find the joins whose key occurs more than once in the other source, in one Spark job for all of them.

    Args:
        ingest: The section with the steps.
        sources: The good rows of each source that is joined.
    """
    frames = []
    for step in ingest.steps:
        if step.join:
            columns = list(step.join.on.values())
            frame = sources[step.join.source].dropna(subset=columns)
            name = F.lit(_join_name(step.join)).alias("join")
            frames.append(frame.select(name, hash_of(columns).alias("hash")))
    if not frames:
        return set()
    keys = reduce(lambda left, right: left.unionAll(right), frames)
    with mapped_actions("the joins"):
        repeated = keys.groupBy("join", "hash").count().where("count > 1")
        return {row[0] for row in repeated.select("join").distinct().collect()}


def _join_name(join: Join) -> str:
    return f"{join.source} on {', '.join(join.on.values())}"


def _check_multiplies(flow: Flow, joined: "DataFrame", join: Join) -> None:
    """Refuse a join that adds rows; called only if the key is not unique in the other source."""
    with mapped_actions(f"join {join.source}"):
        before = flow.frame.where(is_kept()).count()
        after = joined.where(is_kept()).count()
    if after > before:
        reason = f"its key ({', '.join(join.on.values())}) is not unique"
        raise RowsMultiplied(f"join {join.source}", before=before, after=after, reason=reason)
    logger.info("join %s: its key is not unique, but no row matches a repeated key", join.source)
