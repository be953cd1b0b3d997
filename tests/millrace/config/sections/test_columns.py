"""What a column may declare, and what cannot be meant."""

from typing import Any

import pytest
from pydantic import ValidationError

from millrace.config.sections.columns import Column
from millrace.config.sections.sources import Source


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"type": "int", "decimal": ","}, "decimal does not fit type int"),
        ({"type": "string", "thousands": ","}, "thousands does not fit type string"),
        ({"type": "date", "unit": "seconds"}, "unit does not fit type date"),
        ({"type": "double", "thousands": "."}, "thousands and decimal are both '.'"),
        ({"type": "timestamp", "unit": "seconds", "pattern": "yyyy-MM-dd"}, "expected unit or pattern"),
        ({"type": "date", "pattern": "yyyy-mm-dd"}, "expected a year .y., a month .M. and a day"),
        ({"type": "date", "pattern": "YYYY-MM-DD"}, "unknown letter 'Y'; y is the year"),
        ({"type": "timestamp", "pattern": "HH:mm"}, "expected a year"),
        ({"type": "date", "pattern": "foo{"}, "unknown letter 'f'|unknown letter 'o'"),
        ({"type": "timestamp", "pattern": "yyyy-MM-dd HH:mm:ss.SSSSSSSSS", "exact": True}, "finer than microseconds"),
        ({"type": "boolean", "false_values": ["TRUE"]}, "'true' cannot have two meanings"),
        ({"type": "boolean", "null_values": ["false"]}, "'false' cannot have two meanings"),
        ({"type": "decimal(50,2)"}, "p from 1 to 38"),
        ({"type": "decimal(5,6)"}, "s up to p"),
    ],
)
def test_what_cannot_be_meant(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Column.model_validate(keys)


@pytest.mark.parametrize(
    "keys",
    [
        {"type": "bigint", "thousands": "."},
        {"type": "double", "thousands": ".", "decimal": ","},
        {"type": "date", "pattern": ["d. MMMM yyyy", "yyyyDDD", "'on' dd/MM/yyyy"]},
        {"type": "boolean", "true_values": ["yes", 1], "false_values": ["no", 0], "null_values": ["-"]},
    ],
)
def test_what_can_be_meant(keys: dict[str, Any]) -> None:
    assert Column.model_validate(keys).type == keys["type"]


def test_a_type_has_one_spelling() -> None:
    assert Column(type="decimal( 10, 2 )").type == "decimal(10,2)"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            {"columns": {"a": {"type": "int", "from": "x"}, "b": {"type": "int", "from": "x"}}},
            "both read the column 'x'",
        ),
        ({"columns": {"a": {"type": "string", "from": "x"}}, "format": "text"}, "format text has no column names"),
        ({"columns": {"a": {"type": "double", "decimal": ","}}, "format": "parquet"}, "only csv and json can have"),
    ],
)
def test_columns_of_a_source(source: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Source.model_validate({"path": ["a"], **source})
