"""Runs the product's contract as a Great Expectations suite on Spark; an expectation without a result has failed."""

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from ingest.checks.failures import Failure
from ingest.checks.guards import NULL_RULES
from ingest.errors import ContractUnfit
from ingest.spark.errors import mapped_actions
from millrace.config.sections.ingest import Contract
from millrace.errors import MAX_EXAMPLES, MillraceError, shorten

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

logger = logging.getLogger(__name__)

Rule = tuple[str, Mapping[str, Any]]
"""An expectation's name and its arguments."""

Result = Mapping[str, Any]
"""The result of one expectation: its number in the suite, success, result, exceptions."""

ERROR: Final = "expectation_error"
"""The reason starts with this if an expectation cannot be computed."""

OBSERVES_VALUES: Final = ("_min_", "_max_", "median", "most_common", "quantile", "distinct")
"""Parts of the names of expectations that report values of single rows, not a figure about all rows."""


def run_suite(contract: Contract, frame: "DataFrame", name: str, key: tuple[str, ...]) -> list[Failure]:
    """Validate the kept rows.

    Args:
        contract: The expectations.
        frame: The rows, persisted.
        name: Name of the suite.
        key: Key columns, which identify example rows in failures.

    Returns:
        The expectations that failed, raised an exception, or gave no result.

    Raises:
        ContractUnfit: Great Expectations refuses the arguments of an expectation.
        Unavailable: Spark failed.
    """
    started = time.monotonic()
    rules: list[Rule] = [pair for item in contract.expectations for pair in item.items()]
    # Examples cost two Spark jobs per expectation, so only failed expectations run again with examples.
    failed = [(rules[n], f) for n, f in _failures(rules, frame, name, (), contract)]
    if failed:
        again = dict(_failures([rule for rule, _ in failed], frame, name, key, contract))
        failures = [again.get(number, first) for number, (_, first) in enumerate(failed)]
    else:
        failures = []
    seconds = time.monotonic() - started
    logger.info("%d expectations, %d failed, in %.1f s", len(rules), len(failed), seconds)
    return failures


def _failures(
    rules: list[Rule], frame: "DataFrame", name: str, key: tuple[str, ...], contract: Contract
) -> Iterator[tuple[int, Failure]]:
    """Yield number and failure of each rule that failed."""
    try:
        with mapped_actions("the contract"):
            results = _validate(rules, frame, name, key)
    except MillraceError:
        raise
    except Exception as error:  # the library may raise any exception, and then nothing is validated
        _check_alive(frame)
        logger.warning("Great Expectations failed", exc_info=error)
        info = {"raised_exception": True, "exception_message": f"{type(error).__name__}: {error}"}
        results = [{"number": number, "exception_info": info} for number in range(len(rules))]
    if any(_exception(result.get("exception_info") or {}) for result in results):
        _check_alive(frame)
    by_number = {result["number"]: result for result in results}
    for number, (rule, arguments) in enumerate(rules):
        failure = _failure(rule, arguments, by_number.get(number, {}), key, contract.show_values)
        if failure is not None:
            yield number, failure


def _check_alive(frame: "DataFrame") -> None:
    """Check that Spark still runs, after an expectation could not be computed.

    Raises:
        Unavailable: Spark has died; the data may be good.
    """
    with mapped_actions("the contract"):
        frame.sparkSession.range(1).count()


def _validate(rules: list[Rule], frame: "DataFrame", name: str, key: tuple[str, ...]) -> list[Result]:
    # The library reads this at import. Without it, the library sends usage data to a server.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.expectations.registry import get_expectation_impl

    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_spark(name, persist=False)
    batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
    expectations = []
    for number, (rule, arguments) in enumerate(rules):
        try:
            expectations.append(get_expectation_impl(rule)(**arguments, meta={"number": number}))
        except (ValueError, TypeError) as error:
            raise ContractUnfit(rule, reason=shorten(" ".join(str(error).split()))) from error
    suite = gx.ExpectationSuite(name=name, expectations=expectations)
    # A validation definition would store its results as JSON, which fails for some of the library's own results.
    outcome = batch.get_batch({"dataframe": frame}).validate(suite, result_format=_result_format(key))
    return [
        {
            "number": result.expectation_config.meta["number"],
            "success": result.success,
            "result": result.result,
            "exception_info": result.exception_info,
        }
        for result in outcome.results
    ]


def _result_format(key: tuple[str, ...]) -> dict[str, Any]:
    if not key:
        return {"result_format": "BASIC", "partial_unexpected_count": 0}
    names = {"unexpected_index_column_names": list(key), "return_unexpected_index_query": False}
    return {"result_format": "SUMMARY", "partial_unexpected_count": MAX_EXAMPLES, **names}


def _columns(arguments: Mapping[str, Any]) -> list[str]:
    names = [arguments[key] for key in ("column", "column_A", "column_B") if key in arguments]
    return [str(name) for name in (*names, *(arguments.get("column_list") or ()))]


def _failure(
    rule: str, arguments: Mapping[str, Any], result: Result, key: tuple[str, ...], shown: tuple[str, ...]
) -> Failure | None:
    column = ", ".join(_columns(arguments))
    if not result:
        return Failure(rule, column, reason="Great Expectations gave no result")
    exception = _exception(result.get("exception_info") or {})
    if exception is not None:
        return Failure(rule, column, reason=f"{ERROR}: could not be computed: {exception}")
    found = result.get("result") or {}
    if result["success"]:
        missing = 0 if rule in NULL_RULES else found.get("missing_count") or 0
        if "element_count" in found and found["element_count"] <= missing:
            return Failure(rule, column, reason="passed without checking a single value")
        return None
    wanted = {k: v for k, v in arguments.items() if k not in ("column", "column_A", "column_B", "column_list")}
    reason = ", ".join(f"{key} {shorten(value, 60)}" for key, value in wanted.items())
    if found.get("observed_value") is not None and _may_show(rule, column, found["observed_value"], shown):
        reason = f"{reason}; found {shorten(found['observed_value'], 60)}".removeprefix("; ")
    rows = (found.get("partial_unexpected_index_list") or ())[:MAX_EXAMPLES]
    examples = (", ".join(f"{n}={v}" for n, v in row.items() if n in (*key, *shown)) for row in rows)
    return Failure(rule, column, found.get("unexpected_count"), reason, tuple(shorten(e, 120) for e in examples))


def _may_show(rule: str, column: str, observed: object, shown: tuple[str, ...]) -> bool:
    """Whether the observed value may be shown: it is a figure about all rows, or of a column in `show_values`.

    Messages go to logs that many people can read, so values of single rows are hidden.
    """
    if not column or column in shown:
        return True
    return isinstance(observed, int | float) and not any(word in rule for word in OBSERVES_VALUES)


def _exception(info: Mapping[str, Any]) -> str | None:
    """The first message in an ``exception_info``, which has one entry, or one entry per metric."""
    entries = [info] if "raised_exception" in info else list(info.values())
    for entry in entries:
        if isinstance(entry, dict) and entry.get("raised_exception"):
            message = str(entry.get("exception_message") or "no message").strip().splitlines()[0]
            return shorten(re.sub(r"(?i)\b(value) '[^']*'", r"\1 '…'", message))
    return None
