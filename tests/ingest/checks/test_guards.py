"""The guards: nothing passes because nothing was looked at."""

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from ingest.checks import contract as contract_module
from ingest.checks.contract import run_suite
from ingest.checks.failures import Failure
from ingest.checks.guards import check_filtered, check_fit, find_failures
from ingest.checks.keys import check_key
from ingest.checks.statistics import Statistics, contract_columns, find_empty, measure
from ingest.cleaning.flow import DROPPED, Flow
from ingest.errors import ContractUnfit, KeyBroken, TooManyFiltered
from ingest.table.arrange import HASH, with_split
from millrace.config.sections.ingest import Contract, Ingest

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
    frame = with_split(flow.frame, INGEST).drop(DROPPED, HASH).persist()
    try:
        failures = find_failures(contract, measure(frame, frame.count(), INGEST.key_columns, contract))
        return failures or run_suite(contract, frame, "small", INGEST.key_columns)
    finally:
        frame.unpersist()


CHECKS: dict[str, dict[str, Any]] = {
    "not null": {NOT_NULL: {"column": "x"}},
    "between": {BETWEEN: {"column": "x", "min_value": 0, "max_value": 10}},
    "in set": {IN_SET: {"column": "x", "value_set": list(range(11))}},
    "unique": {UNIQUE: {"column": "x"}},
    "regex": {"expect_column_values_to_match_regex": {"column": "x", "regex": "."}},
}
STATES: dict[str, tuple[str, str, str]] = {
    # Name: rows, column x, and what must refuse it: a guard's name, or `unfit` where no data could fail the check.
    "empty": ("range(0)", "id AS x", "min_rows"),
    "all null": ("range(10)", "cast(null AS int) AS x", "min_non_null"),
    "nearly all null": ("range(10)", "if(id = 1, 1, null) AS x", "min_non_null"),
    "all NaN": ("range(10)", "double('NaN') AS x", "finite"),
    "mistyped": ("range(2)", "if(id = 0, 'abc', '5') AS x", "unfit"),
}
MATRIX = [(s, c) for s in STATES for c in CHECKS if s != "mistyped" or c in ("between", "in set")]
FEW = {
    ("nearly all null", "not null"),
    ("all null", "not null"),
    ("all NaN", "between"),
    ("all NaN", "in set"),
    ("all NaN", "unique"),
    ("mistyped", "between"),
    ("mistyped", "in set"),
}
"""Cases that the library does see."""


@pytest.mark.parametrize(("state", "check"), MATRIX)
def test_what_passes_vacuously_is_refused(spark: "SparkSession", state: str, check: str) -> None:
    rows, column, goal = STATES[state]
    try:
        (failure,) = verdict(spark, column, contract_of(CHECKS[check], min_non_null=0.5), rows)
        got = failure.rule
    except ContractUnfit:
        got = "unfit"
    print(f"{state}, {check}: got {got} / goal {goal}")  # noqa: T201 - the figure; pytest -rP shows it
    assert got == goal


def test_great_expectations_alone_passes_most_of_them(spark: "SparkSession") -> None:
    """If this fails, the library has changed, and some guards may go."""
    green = {}
    for state, (rows, column, _) in STATES.items():
        frame = spark.sql(f"SELECT id, {column} FROM {rows}")  # noqa: S608 - the tests' own constants
        checks = [check for of, check in MATRIX if of == state]
        results = contract_module._validate([next(iter(CHECKS[c].items())) for c in checks], frame, "alone", ())
        green |= {(state, checks[r["number"]]): r["success"] for r in results}
    print(f"Great Expectations alone: {sum(green.values())} of {len(MATRIX)} pass / goal 0; refused here: all")  # noqa: T201
    assert {case for case in MATRIX if not green[case]} == FEW


def test_a_suite_without_expectations() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        contract_of()


def test_a_label_without_values(spark: "SparkSession") -> None:
    flow = Flow.start(spark.sql("SELECT id, cast(null AS int) AS late, id AS x, cast(null AS int) AS y FROM range(10)"))
    contract = contract_of({NOT_NULL: {"column": "x"}})
    statistics = measure(with_split(flow.frame, INGEST), 10, INGEST.key_columns, contract, "late")
    (failure,) = find_failures(contract, statistics, "late")
    assert (failure.rule, failure.column, failure.count) == ("min_non_null", "late", 10)
    assert find_failures(contract, statistics, "x") == []


def test_columns_without_a_value(spark: "SparkSession") -> None:
    frame = spark.sql(
        "SELECT id, cast(null AS int) AS x, if(id = 499, 'late', null) AS y, nullif(1, 1) AS z FROM range(500)"
    )
    assert find_empty(frame, frame.columns) == ["x", "z"]
    assert find_empty(frame, ["id", "y"]) == []
    assert find_empty(frame.where("id < 0"), frame.columns) == []


@pytest.mark.parametrize(("allowed", "fails"), [(0.5, False), (0.49, True)])
def test_the_share_that_may_be_dropped(allowed: float, fails: bool) -> None:
    filters = {"old": 2, "join:kinds": 3}
    with pytest.raises(TooManyFiltered, match="drop 5 of 10 rows") if fails else nullcontext():
        check_filtered(filters, 10, Ingest(base="things", key=("id",), max_filtered=allowed))


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"few": 3, "aggregate": 95, "late": 0}, None),
        ({"few": 60, "aggregate": 38, "late": 0}, "drop 60 of 100 rows"),
        ({"few": 0, "aggregate": 98, "late": 2}, "drop 2 of 2 rows"),
        ({"few": 0, "aggregate": 98, "late": 1, "upsert": 50}, None),
        ({"few": 0, "aggregate": 98, "duplicates": 2}, "drop 2 of 2 rows"),
    ],
)
def test_rows_that_an_aggregate_merges_are_not_dropped(filters: dict[str, int], message: str | None) -> None:
    steps = [
        {"filter": {"name": "few", "keep": "x > 1"}},
        {"aggregate": {"by": ["id"], "columns": {"n": "count(*)"}}},
        {"filter": {"name": "late", "keep": "n > 1"}},
    ]
    ingest = Ingest.model_validate({"base": "things", "key": ["id"], "steps": steps})
    with pytest.raises(TooManyFiltered, match=message) if message else nullcontext():
        check_filtered(filters, 100, ingest)


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
    assert failure.reason == "passed without checking a single value"


def statistics_of(spark: "SparkSession", values: str, key: tuple[str, ...]) -> Statistics:
    ingest = Ingest(base="things", key=key)
    frame = with_split(Flow.start(spark.sql(values)).frame, ingest).persist()
    statistics = measure(frame, frame.count(), key, contract_of({NOT_NULL: {"column": "x"}}))
    try:
        check_key(frame, key, statistics)
    finally:
        frame.unpersist()
    return statistics


def test_a_key_that_holds(spark: "SparkSession") -> None:
    values = "SELECT * FROM VALUES (1, 'a', 1), (1, 'b', 2), (2, 'a', NULL) AS t(id, name, x)"
    statistics = statistics_of(spark, values, ("id", "name"))
    assert (statistics.rows, statistics.null_keys) == (3, 0)
    assert dict(statistics.non_null) == {"x": 2}


def test_a_key_that_stands_twice(spark: "SparkSession") -> None:
    with pytest.raises(KeyBroken, match=r"ingest\.key \(key\): 30 rows have a key that is not unique") as caught:
        statistics_of(spark, "SELECT id % 40 AS key, id AS x FROM range(55)", ("key",))
    assert caught.value.count == 30
    assert len(caught.value.examples) == 15


def test_a_key_with_a_null(spark: "SparkSession") -> None:
    values = "SELECT if(id % 2 = 0, id, null) AS key, id AS x FROM range(60)"
    with pytest.raises(KeyBroken, match="30 rows have a null in the key") as caught:
        statistics_of(spark, values, ("key",))
    assert len(caught.value.examples) == 20
