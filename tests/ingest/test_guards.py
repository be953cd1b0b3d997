"""The guards: nothing passes because nothing was looked at."""

from typing import TYPE_CHECKING, Any

import pytest

from ingest.arrange import arrange
from ingest.contract import run_suite
from ingest.errors import ContractUnfit, Failure, KeyBroken
from ingest.flow import DROPPED, Flow, is_kept
from ingest.guards import Statistics, check_fit, check_key, contract_columns, find_failures, measure
from pipelines.config.sections import Contract, Ingest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

NOT_NULL, BETWEEN = "expect_column_values_to_not_be_null", "expect_column_values_to_be_between"
IN_SET, UNIQUE = "expect_column_values_to_be_in_set", "expect_column_values_to_be_unique"
MEAN, NULL = "expect_column_mean_to_be_between", "expect_column_values_to_be_null"
INGEST = Ingest(base="things", key=("id",))


def contract_of(*expectations: dict[str, Any], **more: Any) -> Contract:
    return Contract(expectations=expectations, **more)


def verdict(spark: "SparkSession", columns: str, contract: Contract, rows: str = "range(10)") -> list[Failure]:
    """What the stage does with rows: guards, and the suite if they hold."""
    flow = Flow.start(spark.sql(f"SELECT id, {columns} FROM {rows}"))  # noqa: S608 - the tests' own constants
    check_fit(contract, flow.kept.schema)
    frame = arrange(flow.frame, INGEST, 10).persist()
    try:
        statistics = measure(frame, (), INGEST.key, contract)
        failures = find_failures(contract, statistics)
        return failures or run_suite(contract, frame.where(is_kept()).drop(DROPPED), "small")
    finally:
        frame.unpersist()


VACUOUS: list[tuple[str, str, dict[str, Any], str]] = [
    ("range(0)", "1 AS x", {NOT_NULL: {"column": "x"}}, "min_rows"),
    ("range(0)", "1 AS x", {BETWEEN: {"column": "x", "min_value": 0, "max_value": 1}}, "min_rows"),
    ("range(0)", "1 AS x", {IN_SET: {"column": "x", "value_set": [1]}}, "min_rows"),
    ("range(0)", "1 AS x", {UNIQUE: {"column": "x"}}, "min_rows"),
    ("range(10)", "cast(null AS int) AS x", {BETWEEN: {"column": "x", "max_value": 1}}, "min_non_null"),
    ("range(10)", "cast(null AS int) AS x", {IN_SET: {"column": "x", "value_set": [1]}}, "min_non_null"),
    ("range(10)", "cast(null AS int) AS x", {UNIQUE: {"column": "x"}}, "min_non_null"),
    ("range(10)", "if(id = 1, 1, null) AS x", {UNIQUE: {"column": "x"}}, "min_non_null"),
    ("range(10)", "double('NaN') AS x", {NOT_NULL: {"column": "x"}}, "finite"),
    ("range(10)", "float('-inf') AS x", {NOT_NULL: {"column": "x"}}, "finite"),
    ("range(10)", "1 AS x, sqrt(-id - 1) AS y", {NOT_NULL: {"column": "x"}}, "finite"),
]


@pytest.mark.parametrize(("rows", "columns", "expectation", "rule"), VACUOUS)
def test_what_passes_vacuously_is_refused(
    spark: "SparkSession", rows: str, columns: str, expectation: dict[str, Any], rule: str
) -> None:
    """Great Expectations finds each of these in order (shown below); the guards do not."""
    contract = contract_of(expectation, min_non_null=0.5)
    assert [failure.rule for failure in verdict(spark, columns, contract, rows)] == [rule]


def test_great_expectations_alone_passes_them(spark: "SparkSession") -> None:
    """If this fails, the library has changed, and some guards may go."""
    for rows, columns, expectation, _ in VACUOUS[:2] + VACUOUS[4:5] + VACUOUS[8:9]:
        frame = spark.sql(f"SELECT id, {columns} FROM {rows}")  # noqa: S608 - the tests' own constants
        failures = run_suite(contract_of(expectation), frame, "small")
        assert [f for f in failures if "without seeing" not in f.reason] == []


UNFIT: list[tuple[str, dict[str, Any], str]] = [
    ("'5' AS x", {BETWEEN: {"column": "x", "min_value": 0, "max_value": 10}}, "compares 0 with column .x. of type"),
    ("'5' AS x", {IN_SET: {"column": "x", "value_set": ["4", 5]}}, "compares 5 with column 'x' of type string"),
    ("'5' AS x", {MEAN: {"column": "x", "max_value": 9.5}}, "compares 9.5 with column 'x' of type string"),
    ("5 AS x", {IN_SET: {"column": "x", "value_set": ["5"]}}, "compares '5' with column 'x' of type int"),
    ("true AS x", {BETWEEN: {"column": "x", "min_value": 0}}, "of type boolean"),
    ("5 AS x", {IN_SET: {"column": "x", "value_set": []}}, "value_set is empty"),
    ("5 AS x", {NOT_NULL: {"column": "x", "mostly": 0}}, "mostly: 0"),
    ("5 AS x", {NOT_NULL: {"column": "y"}}, "there is no column 'y'"),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "expectation", "message"), UNFIT)
def test_what_no_data_could_fail_is_refused(
    spark: "SparkSession", columns: str, expectation: dict[str, Any], message: str
) -> None:
    with pytest.raises(ContractUnfit, match=message):
        check_fit(contract_of(expectation), spark.sql(f"SELECT {columns}").schema)


def test_what_is_fit(spark: "SparkSession") -> None:
    contract = contract_of(
        {BETWEEN: {"column": "s", "min_value": "a", "max_value": "z"}},
        {"expect_column_value_lengths_to_be_between": {"column": "s", "min_value": 1}},
        {"expect_column_unique_value_count_to_be_between": {"column": "s", "min_value": 1}},
        {IN_SET: {"column": "b", "value_set": [True]}},
        {BETWEEN: {"column": "d", "min_value": "2024-01-01"}},
        {"expect_table_row_count_to_be_between": {"min_value": 1}},
        {"expect_compound_columns_to_be_unique": {"column_list": ["s", "b"]}},
    )
    check_fit(contract, spark.sql("SELECT 's' AS s, true AS b, date'2024-01-01' AS d").schema)
    assert list(contract_columns(contract)) == ["s", "b", "d"]


def test_a_column_that_shall_be_null(spark: "SparkSession") -> None:
    assert verdict(spark, "cast(null AS int) AS x", contract_of({NULL: {"column": "x"}})) == []


@pytest.mark.filterwarnings("ignore:The condition_parser parameter is deprecated")
@pytest.mark.filterwarnings("ignore:Passing a string to the row_condition parameter is deprecated")
@pytest.mark.parametrize(("condition", "parser"), [("x > 5", "spark"), ('col("x") > 5', "great_expectations")])
def test_a_condition_that_no_row_meets(spark: "SparkSession", condition: str, parser: str) -> None:
    expectation = {NOT_NULL: {"column": "x", "row_condition": condition, "condition_parser": parser}}
    (failure,) = verdict(spark, "1 AS x", contract_of(expectation))
    assert failure.reason == "passed without seeing a single value"


def statistics_of(spark: "SparkSession", values: str, key: tuple[str, ...]) -> Statistics:
    ingest = Ingest(base="things", key=key)
    frame = arrange(Flow.start(spark.sql(values)).frame, ingest, 10).persist()
    statistics = measure(frame, (), key, contract_of({NOT_NULL: {"column": "x"}}))
    try:
        check_key(frame.where(is_kept()), key, statistics)
    finally:
        frame.unpersist()
    return statistics


def test_a_key_that_holds(spark: "SparkSession") -> None:
    values = "SELECT * FROM VALUES (1, 'a', 1), (1, 'b', 2), (2, 'a', NULL) AS t(id, name, x)"
    statistics = statistics_of(spark, values, ("id", "name"))
    assert (statistics.rows, statistics.kept, statistics.null_keys, dict(statistics.non_null)) == (3, 3, 0, {"x": 2})
    assert sum(statistics.splits.values()) == 3


def test_a_key_that_stands_twice(spark: "SparkSession") -> None:
    with pytest.raises(KeyBroken, match=r"ingest\.key \(key\): 30 rows share their key with another") as caught:
        statistics_of(spark, "SELECT id % 40 AS key, id AS x FROM range(55)", ("key",))
    assert caught.value.count == 30
    assert len(caught.value.examples) == 15


def test_a_key_with_a_null(spark: "SparkSession") -> None:
    values = "SELECT if(id % 2 = 0, id, null) AS key, id AS x FROM range(60)"
    with pytest.raises(KeyBroken, match="30 rows have a null in the key") as caught:
        statistics_of(spark, values, ("key",))
    assert len(caught.value.examples) == 20
