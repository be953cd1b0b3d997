"""The one place where Spark's errors become the project's."""

import contextlib
from collections.abc import Iterator
from typing import Final

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import AnalysisException, ParseException, PySparkException, PythonException

from ingest.errors import ExpressionFailed, ExpressionInvalid
from millrace.errors import ConfigError, Unavailable, shorten

DATA_STATE: Final = "22"
"""Class of the SQLSTATEs that mean: a value did not fit."""

SYNTAX_STATE: Final = "42"
"""Class of the SQLSTATEs that mean: what was asked makes no sense."""


def first_line(error: Exception) -> str:
    """What an error says, without plans, stacks and advice."""
    text = str(error).strip() or type(error).__name__
    if isinstance(error, PythonException):
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith(" ")]
        return lines[-1] if lines else text
    if isinstance(error, Py4JJavaError):
        text = "\n".join(text.splitlines()[1:]).lstrip(": ") or text  # the first line names only the bridge
    first, *rest = text.splitlines()
    causes = [line.removeprefix("Caused by: ") for line in rest if line.startswith("Caused by: ")]
    # That a task failed says nothing; why is told last.
    return f"{causes[-1]} ({first})" if causes and "TASK_WRITE_FAILED" in first else first


def space_hint(reason: str) -> str:
    """What to do where storage is full; empty where it is something else."""
    full = any(words in reason.lower() for words in ("quota", "no space left"))
    return "raise the quota or free some space, then run it again" if full else ""


@contextlib.contextmanager
def mapped_analysis(where: str, expression: str) -> Iterator[None]:
    """Around building a step: nothing runs yet, so what fails is the expression itself.

    Raises:
        ExpressionInvalid: Spark does not understand it.
    """
    try:
        yield
    except (AnalysisException, ParseException) as error:
        raise ExpressionInvalid(where, expression, reason=first_line(error)) from error


@contextlib.contextmanager
def mapped_actions(what: str) -> Iterator[None]:
    """Around everything that makes Spark compute.

    Raises:
        ExpressionFailed: A value did not fit an expression, or a user's function raised on a row.
        ConfigError: Spark found out only now that a pattern of dates, say, is none.
        Unavailable: Spark itself failed.
    """
    try:
        yield
    except PySparkException as error:
        state, condition = error.getSqlState() or "", error.getCondition() or ""
        if state.startswith(SYNTAX_STATE) or condition.startswith("INVALID_DATETIME_PATTERN"):
            raise ConfigError(f"{what}: {shorten(first_line(error), 400)}") from error
        if isinstance(error, PythonException) or state.startswith(DATA_STATE):
            raise ExpressionFailed(what, reason=_with_fragment(error)) from error
        raise Unavailable(f"{what}: Spark failed: {shorten(first_line(error), 400)}") from error
    except (Py4JError, ConnectionError) as error:  # the latter where the JVM died a while ago
        raise Unavailable(f"{what}: Spark failed: {shorten(first_line(error), 400)}") from error


def _with_fragment(error: PySparkException) -> str:
    fragments = [context.fragment() for context in error.getQueryContext() or ()]
    where = f" in: {shorten(fragments[0], 120)}" if fragments and fragments[0] else ""
    return f"{shorten(first_line(error), 250)}{where}"
