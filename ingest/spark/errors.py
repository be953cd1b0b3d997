"""Maps Spark's errors to the project's errors."""

import contextlib
from collections.abc import Iterator
from typing import Final

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import AnalysisException, ParseException, PySparkException, PythonException
from pyspark.errors.exceptions.captured import convert_exception

from ingest.errors import ExpressionFailed, ExpressionInvalid
from millrace.errors import ConfigError, Unavailable, shorten

DATA_STATE: Final = "22"
"""Class of the SQLSTATEs for data errors: a value that does not fit."""

SYNTAX_STATE: Final = "42"
"""Class of the SQLSTATEs for syntax errors and unknown names."""

_NO_VALUES: Final = frozenset(
    {
        "sourceType",
        "targetType",
        "ansiConfig",
        "config",
        "configKey",
        "functionName",
        "alternative",
        "precision",
        "scale",
        "suggestion",
        "operation",
        "func",
        "funcName",
    }
)
"""Parameters of Spark's messages about data that never hold a value of the data; others may."""


def first_line(error: Exception) -> str:
    """The message of an error, without plans, stack traces and advice."""
    text = str(error).strip() or type(error).__name__
    if isinstance(error, PythonException):
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith(" ")]
        return lines[-1] if lines else text
    if isinstance(error, Py4JJavaError):
        text = "\n".join(text.splitlines()[1:]).lstrip(": ") or text  # the first line is py4j's own
    first, *rest = text.splitlines()
    causes = [line.removeprefix("Caused by: ") for line in rest if line.startswith("Caused by: ")]
    # The first line only says that a task failed; the last cause says why.
    return f"{causes[-1]} ({first})" if causes and "TASK_WRITE_FAILED" in first else first


def space_hint(reason: str) -> str:
    """A hint for errors about full storage; empty for other errors."""
    full = any(words in reason.lower() for words in ("quota", "no space left"))
    return "raise the quota or free some space, then run again" if full else ""


@contextlib.contextmanager
def mapped_analysis(where: str, expression: str) -> Iterator[None]:
    """Map errors while a step is built; no Spark job runs yet, so the expression itself is wrong.

    Raises:
        ExpressionInvalid: Spark cannot analyse the expression.
    """
    try:
        yield
    except (AnalysisException, ParseException) as error:
        raise ExpressionInvalid(where, expression, reason=first_line(error)) from error


@contextlib.contextmanager
def mapped_actions(what: str) -> Iterator[None]:
    """Map errors of Spark actions, that is of code that starts Spark jobs.

    Raises:
        ExpressionFailed: A value does not fit an expression, or a user's function raised an exception for a row.
        ConfigError: A mistake that Spark finds only while it runs, such as an invalid date pattern.
        Unavailable: Spark itself failed.
    """
    try:
        yield
    except (PySparkException, Py4JError, ConnectionError) as error:  # ConnectionError if the JVM is already dead
        known = error_of_data(what, error)
        if known is not None:
            raise known from error
        raise Unavailable(f"{what}: Spark failed: {shorten(first_line(error), 400)}") from error


def error_of_data(what: str, error: Exception) -> ExpressionFailed | ConfigError | None:
    """The project's error for an error of a Spark action, or of one of its causes; None if Spark itself failed.

    A job that writes files fails with an error of its own; the error of the row is a cause of it.
    """
    cause: BaseException | None = error
    if isinstance(error, Py4JJavaError):  # of a class that PySpark does not know; its causes it may know
        java = error.java_exception.getCause()
        cause = convert_exception(java) if java is not None else None
    while isinstance(cause, PySparkException):
        state, condition = cause.getSqlState() or "", cause.getCondition() or ""
        if state.startswith(SYNTAX_STATE) or condition.startswith("INVALID_DATETIME_PATTERN"):
            return ConfigError(f"{what}: {shorten(first_line(cause), 400)}")
        if isinstance(cause, PythonException) or state.startswith(DATA_STATE):
            return ExpressionFailed(what, reason=_with_fragment(cause))
        cause = getattr(cause, "_cause", None)
    return None


def _with_fragment(error: PySparkException) -> str:
    fragments = [context.fragment() for context in error.getQueryContext() or ()]
    where = f" in: {shorten(fragments[0], 120)}" if fragments and fragments[0] else ""
    return f"{shorten(_without_values(error), 250)}{where}"


def _without_values(error: PySparkException) -> str:
    """The first line of a message without values of the data, and without advice about Spark's own settings."""
    text = first_line(error)
    for name, value in (error.getMessageParameters() or {}).items():
        if name not in _NO_VALUES and value:
            text = text.replace(value, "(a value)")
    advice = text.find(' If necessary set "spark.')
    return text if advice < 0 else text[:advice]
