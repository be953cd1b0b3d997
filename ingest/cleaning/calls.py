"""The `call` step: applies a user's function to the rows and checks the result against the step's declaration."""

import contextlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame

from ingest.cleaning.flow import Flow, add
from ingest.errors import CallBroken, RowsMultiplied
from ingest.spark.errors import mapped_actions
from millrace.config.sections.ingest import Call
from millrace.dotted import load_function

if TYPE_CHECKING:
    from pyspark.sql.types import StructType

logger = logging.getLogger(__name__)


def apply_call(flow: Flow, call: Call, stack: contextlib.ExitStack) -> Flow:
    """Call a function with the kept rows and check what it returns.

    Args:
        flow: The rows; none of them is marked as dropped.
        call: The step.
        stack: Unpersists the frames when it closes.

    Raises:
        CallBroken: It raised an exception, or its columns are not the declared ones.
        RowsMultiplied: It returned more rows than it got.
    """
    before = flow.kept.persist()
    stack.callback(before.unpersist)
    after = _call(call, before)
    _check_columns(call, before.schema, after.schema)
    after = after.persist()
    stack.callback(after.unpersist)
    with mapped_actions(call.function):
        rows_before, rows_after = before.count(), after.count()
    if rows_after > rows_before:
        reason = "a function may drop rows, but must not add any"
        raise RowsMultiplied(call.function, before=rows_before, after=rows_after, reason=reason)
    logger.info("%s: %d rows in, %d out", call.function, rows_before, rows_after)
    filtered = add(flow.filtered, {call.function: rows_before - rows_after})
    return replace(Flow.start(after).finite(*after.columns), filtered=filtered, not_finite=flow.not_finite)


def _call(call: Call, frame: DataFrame) -> DataFrame:
    function = load_function(call.function)
    try:
        result = function(frame)
    except Exception as error:  # a user's function may raise any exception
        raise CallBroken(call.function, reason=f"{type(error).__name__}: {error}") from error
    if not isinstance(result, DataFrame):
        raise CallBroken(call.function, reason=f"returned {type(result).__name__}, expected a DataFrame")
    return result


def _check_columns(call: Call, before: "StructType", after: "StructType") -> None:
    types = {field.name: field.dataType.simpleString() for field in before}
    expected = {n: t for n, t in types.items() if n not in call.drops}
    expected |= {name: type_name.replace(" ", "") for name, type_name in call.adds.items()}
    found = {field.name: field.dataType.simpleString() for field in after}
    if len(found) != len(after.fields):
        raise CallBroken(call.function, reason="returned two columns with the same name")
    for name, type_name in found.items():
        if name not in expected:
            raise CallBroken(call.function, reason=f"returned the undeclared column '{name}'")
        if type_name != expected[name]:
            raise CallBroken(
                call.function,
                reason=f"column '{name}' is of type {type_name}, expected {expected[name]}",
            )
    for name in expected:
        if name not in found:
            raise CallBroken(call.function, reason=f"did not return column '{name}'")
