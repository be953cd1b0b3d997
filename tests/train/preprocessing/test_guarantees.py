"""What rules of a contract prove, and what they do not."""

from typing import Any

import pytest

from millrace.features.spec import Domain, Dtype
from train.preprocessing.guarantees import domain_of, never_null

BETWEEN, IN_SET = "expect_column_values_to_be_between", "expect_column_values_to_be_in_set"
NOT_NULL = "expect_column_values_to_not_be_null"


def rules(*found: tuple[str, dict[str, Any]]) -> tuple[dict[str, dict[str, Any]], ...]:
    return tuple({name: {"column": "x", **arguments}} for name, arguments in found)


def test_only_a_rule_without_exceptions_makes_an_input_required() -> None:
    expectations = (
        {NOT_NULL: {"column": "a"}},
        {NOT_NULL: {"column": "b", "mostly": 0.9}},
        {NOT_NULL: {"column": "c", "row_condition": 'col("y") > 3', "condition_parser": "great_expectations"}},
        {"expect_column_values_to_be_unique": {"column": "d"}},
    )
    assert never_null(expectations) == {"a"}


@pytest.mark.parametrize(
    ("dtype", "found", "domain"),
    [
        ("float64", [(BETWEEN, {"min_value": 0})], Domain(min=0)),
        ("float32", [(BETWEEN, {"min_value": -1.5, "max_value": 2})], Domain(min=-1.5, max=2)),
        ("int64", [(BETWEEN, {"min_value": 0, "strict_min": True})], Domain(min=0, excludes_min=True)),
        ("int64", [(BETWEEN, {"min_value": 0}), (BETWEEN, {"min_value": 2, "max_value": 9})], Domain(min=2, max=9)),
        (
            "int64",
            [(BETWEEN, {"max_value": 9, "strict_max": True}), (BETWEEN, {"max_value": 9})],
            Domain(max=9, excludes_max=True),
        ),
        ("timestamp", [(BETWEEN, {"min_value": "1970-01-01T00:00:01"})], Domain(min=1_000_000)),
        ("timestamp", [(BETWEEN, {"max_value": "1970-01-02"})], Domain(max=86_400_000_000)),
        ("string", [(IN_SET, {"value_set": ["a", "b", "a"]})], Domain(values=("a", "b"))),
        ("bool", [(IN_SET, {"value_set": [True]})], Domain(values=(1,))),
        (
            "int64",
            [(IN_SET, {"value_set": [1, 2]}), ("expect_column_distinct_values_to_be_in_set", {"value_set": [2, 3]})],
            Domain(values=(2,)),
        ),
    ],
)
def test_what_rules_prove(dtype: Dtype, found: list[Any], domain: Domain) -> None:
    assert domain_of("x", dtype, rules(*found)) == domain


@pytest.mark.parametrize(
    ("dtype", "name", "arguments"),
    [
        ("int64", BETWEEN, {"min_value": 0, "mostly": 0.99}),
        ("int64", BETWEEN, {"min_value": 0, "row_condition": 'col("y") > 3'}),
        ("int64", BETWEEN, {"min_value": 0, "column": "y"}),
        ("int64", BETWEEN, {}),
        ("string", BETWEEN, {"min_value": 0}),
        ("timestamp", BETWEEN, {"min_value": 5}),
        ("timestamp", BETWEEN, {"min_value": "yesterday"}),
        ("string", IN_SET, {"value_set": [1]}),
        ("timestamp", IN_SET, {"value_set": ["2013-01-01"]}),
        ("int64", "expect_column_mean_to_be_between", {"min_value": 0, "max_value": 1}),
    ],
)
def test_what_says_nothing_of_every_value(dtype: Dtype, name: str, arguments: dict[str, Any]) -> None:
    assert domain_of("x", dtype, rules((name, arguments))) is None
