"""The suite: what fails is told with rule, column, count and examples; what raises is no success."""

from typing import TYPE_CHECKING, Any

import pytest

from ingest import contract as module
from ingest.contract import run_suite
from ingest.errors import ContractUnfit, Failure
from pipelines.config.sections import Contract

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def frame(spark: "SparkSession") -> "DataFrame":
    return spark.sql(
        "SELECT id, id % 50 AS size, concat('n', id) AS name, if(id < 30, null, 1) AS part FROM range(100)"
    )


def run(frame: "DataFrame", *expectations: dict[str, Any]) -> list[Failure]:
    return run_suite(Contract(expectations=expectations), frame, "small")


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


def test_what_does_not(frame: "DataFrame") -> None:
    failures = run(
        frame,
        {"expect_column_values_to_not_be_null": {"column": "id"}},
        {"expect_column_values_to_be_between": {"column": "id", "max_value": 69}},
        {"expect_column_values_to_not_be_null": {"column": "part"}},
        {"expect_column_mean_to_be_between": {"column": "size", "min_value": 40}},
        {"expect_table_row_count_to_equal": {"value": 99}},
        {"expect_column_values_to_be_in_set": {"column": "name", "value_set": ["n1"], "mostly": 0.9}},
        {"expect_compound_columns_to_be_unique": {"column_list": ["size", "part"]}},
    )
    assert [(f.rule, f.column, f.count) for f in failures] == [
        ("expect_column_values_to_be_between", "id", 30),
        ("expect_column_values_to_not_be_null", "part", 30),
        ("expect_column_mean_to_be_between", "size", None),
        ("expect_table_row_count_to_equal", "", None),
        ("expect_column_values_to_be_in_set", "name", 99),
        ("expect_compound_columns_to_be_unique", "size, part", 40),
    ]
    between, _, mean, rows, _, _ = failures
    assert (len(between.examples), between.reason) == (20, "max_value 69")
    assert set(between.examples) <= {str(n) for n in range(70, 100)}
    assert (mean.reason, rows.reason) == ("min_value 40; found 24.5", "value 99; found 100")


def test_what_cannot_be_computed(frame: "DataFrame") -> None:
    failures = run(
        frame,
        {"expect_column_values_to_not_be_null": {"column": "gone"}},
        {"expect_column_values_to_match_regex": {"column": "name", "regex": "(("}},
        {"expect_column_values_to_not_be_null": {"column": "id"}},
    )
    assert [failure.rule for failure in failures] == [
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_match_regex",
    ]
    assert all("could not be computed" in failure.reason and len(failure.reason) < 260 for failure in failures)


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

    def forgiving(rules: Any, frame: "DataFrame", name: str, examples: int) -> Any:
        return whole(good if examples else rules, frame, name, examples)

    monkeypatch.setattr(module, "_validate", forgiving)
    (failure,) = run(frame, {"expect_column_values_to_be_between": {"column": "id", "max_value": 69}})
    assert failure.count == 30


def test_rows_that_were_persisted_stay_so(frame: "DataFrame") -> None:
    """The library would persist what it is given, and leave it so."""
    other = frame.select("id")
    run(other, {"expect_column_values_to_not_be_null": {"column": "id"}})
    assert not other.is_cached
    assert not other.storageLevel.useMemory
