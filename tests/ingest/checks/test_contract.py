"""The suite: a failure has rule, column, count and examples; an expectation that raises has failed."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ingest.checks import contract as module
from ingest.checks.contract import run_suite
from ingest.checks.failures import Failure
from ingest.errors import ContractUnfit
from millrace.config.sections.ingest import Contract

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def frame(spark: "SparkSession") -> "DataFrame":
    return spark.sql(
        "SELECT id, id % 50 AS size, concat('n', id) AS name, if(id < 30, null, 1) AS part FROM range(100)"
    )


def run(frame: "DataFrame", *expectations: dict[str, Any], **more: Any) -> list[Failure]:
    return run_suite(Contract(expectations=expectations, **more), frame, "small", ("id",))


def test_what_holds(frame: "DataFrame") -> None:
    failures = run(
        frame,
        {"expect_column_values_to_not_be_null": {"column": "id"}},
        {"expect_column_values_to_not_be_null": {"column": "part", "mostly": 0.7}},
        {"expect_column_values_to_match_regex": {"column": "name", "regex": "^n[0-9]+$"}},
        {"expect_column_mean_to_be_between": {"column": "size", "min_value": 20, "max_value": 30}},
        {"expect_table_row_count_to_equal": {"value": 100}},
        {"expect_compound_columns_to_be_unique": {"column_list": ["id", "size"]}},
        # Twice the same is two expectations.
        {"expect_column_values_to_not_be_null": {"column": "id"}},
    )
    assert failures == []


FAILING: list[tuple[str, dict[str, Any], str, int | None, str]] = [
    # Expectation, arguments, column, rows against it, reason.
    ("expect_column_values_to_not_be_null", {"column": "part"}, "part", 30, ""),
    ("expect_column_values_to_be_null", {"column": "part"}, "part", 70, ""),
    ("expect_column_values_to_be_between", {"column": "id", "max_value": 69}, "id", 30, "max_value 69"),
    ("expect_column_values_to_be_in_set", {"column": "name", "value_set": ["n1"], "mostly": 0.9}, "name", 99, "n1"),
    ("expect_column_values_to_be_unique", {"column": "size"}, "size", 100, ""),
    ("expect_column_values_to_match_regex", {"column": "name", "regex": "^n.$"}, "name", 90, "regex ^n.$"),
    ("expect_column_value_lengths_to_equal", {"column": "name", "value": 2}, "name", 90, "value 2"),
    ("expect_compound_columns_to_be_unique", {"column_list": ["size", "part"]}, "size, part", 40, ""),
    ("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "id", "column_B": "size"}, "id, size", 50, ""),
    ("expect_column_mean_to_be_between", {"column": "size", "min_value": 40}, "size", None, "min_value 40; found 24.5"),
    ("expect_column_max_to_be_between", {"column": "size", "max_value": 40}, "size", None, "max_value 40"),
    ("expect_column_distinct_values_to_be_in_set", {"column": "name", "value_set": ["n1"]}, "name", 99, "n1"),
    ("expect_table_row_count_to_equal", {"value": 99}, "", None, "value 99; found 100"),
    (
        "expect_column_quantile_values_to_be_between",
        {"column": "size", "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[0, 1]]}},
        "size", None, "quantile",
    ),
]  # fmt: skip


def test_what_does_not(frame: "DataFrame") -> None:
    """Each kind fails once, with rule, column, count, what was expected, and example rows."""
    rules = [{rule: arguments} for rule, arguments, *_ in FAILING]
    failures = run(frame, {"expect_column_values_to_not_be_null": {"column": "id"}}, *rules)
    assert [(f.rule, f.column, f.count) for f in failures] == [(rule, *expected) for rule, _, *expected, _ in FAILING]
    assert all(reason in f.reason for f, (*_, reason) in zip(failures, FAILING, strict=True))
    by_row = failures[:9]
    assert all(1 <= len(f.examples) <= 20 for f in by_row)
    assert not any(f.examples for f in failures[9:])
    keys = {example for f in by_row for example in f.examples}
    assert keys <= {f"id={n}" for n in range(100)}
    assert set(failures[2].examples) <= {f"id={n}" for n in range(70, 100)}


def test_values_are_shown_where_the_contract_says_so(frame: "DataFrame") -> None:
    rules = [
        {"expect_column_values_to_match_regex": {"column": "name", "regex": "^n.$"}},
        {"expect_column_distinct_values_to_be_in_set": {"column": "name", "value_set": ["n1"]}},
        {"expect_column_max_to_be_between": {"column": "size", "max_value": 40}},
    ]
    hidden = run(frame, *rules)
    assert not any(f"n{n}" in str(failure) for failure in hidden for n in range(10, 100))
    assert "49" not in str(hidden[2])
    shown = run(frame, *rules, show_values=("name", "size"))
    assert shown[0].examples[0] == "id=10, name=n10"
    assert shown[2].reason == "max_value 40; found 49"


def test_what_cannot_be_computed(frame: "DataFrame") -> None:
    failures = run(
        frame,
        {"expect_column_values_to_not_be_null": {"column": "gone"}},
        {"expect_column_values_to_match_regex": {"column": "name", "regex": "(("}},
        {"expect_column_values_to_be_in_set": {"column": "id", "value_set": ["secret"]}},
        {"expect_column_values_to_not_be_null": {"column": "id"}},
    )
    assert [failure.rule for failure in failures] == [
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_match_regex",
        "expect_column_values_to_be_in_set",
    ]
    assert all(failure.reason.startswith("expectation_error: could not be computed: ") for failure in failures)
    assert all(len(failure.reason) < 260 and "secret" not in failure.reason for failure in failures)


def test_a_library_that_fails_itself(frame: "DataFrame", monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> Any:
        raise TypeError("Object of type bool is not JSON serializable")

    monkeypatch.setattr("great_expectations.datasource.fluent.interfaces.Batch.validate", failing)
    rule = {"expect_column_values_to_not_be_null": {"column": "id"}}
    failures = run(frame, rule, rule)
    assert [f.reason.partition(" could")[0] for f in failures] == ["expectation_error:"] * 2


KILLED = """
import sys
import psutil
from ingest.checks import contract
from millrace.config.sections.ingest import Contract
from millrace.config.sections.profile import Spark
from pipelines.jobs.exits import guard
from pipelines.jobs.session import build_session

spark = build_session(Spark(master="local[1]", driver_memory="1g"), app_name="killed")
frame = spark.range(5)
whole = contract._validate

def validate(*arguments):
    java = [p for p in psutil.Process().children(recursive=True) if "java" in p.name()]
    for process in java:
        process.kill()
    psutil.wait_procs(java, 10)
    return whole(*arguments)

contract._validate = validate
rule = {"expect_column_values_to_not_be_null": {"column": "id"}}
guard(lambda: contract.run_suite(Contract(expectations=[rule]), frame, "small", ("id",)))
"""


def test_spark_killed_while_it_validates(tmp_path: Path) -> None:
    """Not the data's fault: worth a retry."""
    (tmp_path / "killed.py").write_text(KILLED)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(tmp_path / "killed.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 75, done.stderr[-2000:]
    assert done.stderr.splitlines()[-1].startswith("error: the contract: Spark failed: ")


def test_arguments_that_the_library_refuses(frame: "DataFrame") -> None:
    with pytest.raises(ContractUnfit, match=r"contract\.expectations: expect_column_values_to_be_unique: .*mostly"):
        run(frame, {"expect_column_values_to_be_unique": {"column": "name", "mostly": 7}})


def test_an_expectation_without_a_result(frame: "DataFrame", monkeypatch: pytest.MonkeyPatch) -> None:
    whole = module._validate
    monkeypatch.setattr(module, "_validate", lambda *arguments: whole(*arguments)[1:])
    rule = {"expect_column_values_to_not_be_null": {"column": "id"}}
    (failure,) = run(frame, rule, {"expect_column_values_to_be_unique": {"column": "id"}})
    assert failure.reason == "Great Expectations gave no result"


def test_a_failure_stays_one_when_asked_again(frame: "DataFrame", monkeypatch: pytest.MonkeyPatch) -> None:
    whole = module._validate
    good = [("expect_column_values_to_not_be_null", {"column": "id"})]

    def forgiving(rules: Any, frame: "DataFrame", name: str, key: tuple[str, ...]) -> Any:
        return whole(good if key else rules, frame, name, key)

    monkeypatch.setattr(module, "_validate", forgiving)
    (failure,) = run(frame, {"expect_column_values_to_be_between": {"column": "id", "max_value": 69}})
    assert failure.count == 30


def test_rows_that_were_persisted_stay_so(frame: "DataFrame") -> None:
    """The library would persist what it is given, and leave it so."""
    other = frame.select("id")
    run(other, {"expect_column_values_to_not_be_null": {"column": "id"}})
    assert not other.is_cached
    assert not other.storageLevel.useMemory
