"""Runs the product's contract as a Great Expectations suite on Spark, and believes nothing that it did not see run."""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ingest.errors import ContractUnfit, Failure
from ingest.guards import NULL_RULES
from ingest.spark_errors import mapped_actions
from pipelines.config.sections import Contract
from pipelines.errors import MAX_EXAMPLES, shorten

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

logger = logging.getLogger(__name__)

Rule = tuple[str, Mapping[str, Any]]
"""An expectation's name and its arguments."""

Result = Mapping[str, Any]
"""What Great Expectations says of one, as plain values."""


def run_suite(contract: Contract, frame: "DataFrame", name: str) -> list[Failure]:
    """Validate kept rows.

    Args:
        contract: Expectations by Great Expectations' own names.
        frame: The rows, persisted.
        name: Name of the suite.

    Returns:
        The expectations that did not hold, raised, or gave no result.
    """
    started = time.monotonic()
    rules: list[Rule] = [pair for item in contract.expectations for pair in item.items()]
    # Examples cost two jobs for each expectation, so only those that failed are asked for them.
    failed = [(rules[n], f) for n, f in _failures(rules, frame, name, 0)]
    if failed:
        again = dict(_failures([rule for rule, _ in failed], frame, name, MAX_EXAMPLES))
        failures = [again.get(number, first) for number, (_, first) in enumerate(failed)]
    else:
        failures = []
    seconds = time.monotonic() - started
    logger.info("%d expectations, %d failed, in %.1f s", len(rules), len(failed), seconds)
    return failures


def _failures(rules: list[Rule], frame: "DataFrame", name: str, examples: int) -> Iterator[tuple[int, Failure]]:
    """Number and failure of each rule that did not hold."""
    with mapped_actions("the contract"):
        results = _validate(rules, frame, name, examples)
    by_number = {result["expectation_config"]["meta"]["number"]: result for result in results}
    for number, (rule, arguments) in enumerate(rules):
        failure = _failure(rule, arguments, by_number.get(number, {}))
        if failure is not None:
            yield number, failure


def _validate(rules: list[Rule], frame: "DataFrame", name: str, examples: int) -> list[Result]:
    # Read when the library is imported; nothing may leave the machine.
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
    suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
    definition = gx.ValidationDefinition(name=name, data=batch, suite=suite)
    outcome = definition.run(
        batch_parameters={"dataframe": frame},
        result_format={"result_format": "BASIC", "partial_unexpected_count": examples},
    )
    return [result.to_json_dict() for result in outcome.results]


def _columns(arguments: Mapping[str, Any]) -> list[str]:
    names = [arguments[key] for key in ("column", "column_A", "column_B") if key in arguments]
    return [str(name) for name in (*names, *(arguments.get("column_list") or ()))]


def _failure(rule: str, arguments: Mapping[str, Any], result: Result) -> Failure | None:
    column = ", ".join(_columns(arguments))
    if not result:
        return Failure(rule, column, reason="Great Expectations gave no result")
    exception = _exception(result.get("exception_info") or {})
    if exception is not None:
        return Failure(rule, column, reason=f"could not be computed: {exception}")
    found = result.get("result") or {}
    if result["success"]:
        missing = 0 if rule in NULL_RULES else found.get("missing_count") or 0
        if "element_count" in found and found["element_count"] <= missing:
            return Failure(rule, column, reason="passed without seeing a single value")
        return None
    wanted = {k: v for k, v in arguments.items() if k not in ("column", "column_A", "column_B", "column_list")}
    reason = ", ".join(f"{key} {shorten(value, 60)}" for key, value in wanted.items())
    if "observed_value" in found:
        reason = f"{reason}; found {shorten(found['observed_value'], 60)}".removeprefix("; ")
    examples = tuple(shorten(repr(v), 60) for v in (found.get("partial_unexpected_list") or ())[:MAX_EXAMPLES])
    return Failure(rule, column, found.get("unexpected_count"), reason, examples)


def _exception(info: Mapping[str, Any]) -> str | None:
    """The first message in an ``exception_info``, which holds one entry or one for each metric."""
    entries = [info] if "raised_exception" in info else list(info.values())
    for entry in entries:
        if isinstance(entry, dict) and entry.get("raised_exception"):
            return shorten(str(entry.get("exception_message") or "no message").strip().splitlines()[0])
    return None
