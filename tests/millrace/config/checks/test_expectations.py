"""Expectations are checked against the schemas that Great Expectations ships, without importing it."""

from pathlib import Path
from typing import Any

import pytest

from millrace.config import load_product
from millrace.config.checks import expectations
from millrace.config.checks.expectations import RESERVED, arguments_of, snake_case
from millrace.errors import ConfigError
from tests.millrace.products import write_product

OLD = "expect_column_values_to_not_be_null: {column: late}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ExpectColumnValuesToBeBetween", "expect_column_values_to_be_between"),
        ("ExpectColumnKLDivergenceToBeLessThan", "expect_column_kl_divergence_to_be_less_than"),
        ("UnexpectedRowsExpectation", "unexpected_rows_expectation"),
    ],
)
def test_names_as_in_a_file(name: str, expected: str) -> None:
    assert snake_case(name) == expected


def test_every_shipped_schema_can_be_read() -> None:
    names = expectations._schemas()
    assert len(names) > 40
    for name in names:
        schema = arguments_of(name)
        assert set(schema["properties"]) & RESERVED
        assert all(isinstance(value, dict) for value in schema["properties"].values())


@pytest.mark.parametrize(
    "line",
    [
        "expect_column_values_to_be_between: {column: hour, min_value: 0, max_value: 23, strict_min: true}",
        "expect_column_values_to_be_between: {column: started, min_value: 2013-01-01}",
        "expect_column_values_to_not_be_null: {column: city, mostly: 0.999}",
        "expect_column_values_to_not_be_null: {column: city, mostly: 1}",
        "expect_column_values_to_be_in_set: {column: city, value_set: [a, b]}",
        "expect_column_values_to_match_regex: {column: city, regex: '^[a-z]+$'}",
        "expect_column_pair_values_to_be_equal: {column_A: hour, column_B: late, severity: warning}",
        "expect_compound_columns_to_be_unique: {column_list: [city, started]}",
        "expect_table_row_count_to_be_between: {min_value: 10}",
        "expect_column_mean_to_be_between: {column: late, min_value: 0.1, description: 'not too late'}",
    ],
)
def test_what_people_write_is_accepted(line: str, tmp_path: Path) -> None:
    load_product(write_product(tmp_path, (OLD, line)))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("expect_column_values_to_be_between: {column: hour, strict_min: 'yes'}", "argument 'strict_min' is \"yes\""),
        ("expect_column_values_to_be_between: {column: hour, min_value: true}", "argument 'min_value' is true"),
        ("expect_column_pair_values_to_be_equal: {column_A: hour, column_B: hoar}", "unknown column 'hoar'"),
        ("expect_compound_columns_to_be_unique: {column_list: [city, start]}", "unknown column 'start'"),
        ("expect_column_values_to_not_be_null: {column: late, result_format: BASIC}", "unknown argument"),
    ],
)
def test_what_cannot_be_is_told(line: str, found: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_product(write_product(tmp_path, (OLD, line)))
    assert caught.value.problems[0].found.startswith(found)


def test_without_great_expectations_names_are_taken_on_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server has no Great Expectations, and reads the same product file."""
    empty: dict[str, Any] = {}
    monkeypatch.setattr(expectations, "_schemas", lambda: empty)
    load_product(write_product(tmp_path, (OLD, "expect_column_to_be_pretty: {column: late, how: very}")))
