"""User functions: they see kept rows only, and are held to their declaration."""

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from ingest.cleaning.calls import apply_call
from ingest.cleaning.flow import Flow
from ingest.errors import CallBroken, ExpressionFailed, RowsMultiplied
from millrace.config.sections.ingest import Call
from millrace.errors import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

FUNCTIONS = "tests.ingest.functions"


@pytest.fixture
def flow(spark: "SparkSession") -> Flow:
    return Flow.start(spark.sql("SELECT * FROM VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3) AS t(id, name, size)"))


def call(flow: Flow, name: str, **more: Any) -> Flow:
    with contextlib.ExitStack() as stack:
        result = apply_call(flow, Call(function=f"{FUNCTIONS}:{name}", **more), stack)
        result.kept.count()
        return result


def test_a_function_that_keeps_its_word(flow: Flow) -> None:
    result = call(flow, "shout", adds={"loud": "string"}, drops=["name"])
    assert result.filtered == {f"{FUNCTIONS}:shout": 1}
    assert [tuple(row) for row in result.kept.collect()] == [(1, 1, "A"), (3, 3, "C")]


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("shout", {"drops": ["name"]}, "undeclared column 'loud'"),
        ("shout", {"adds": {"loud": "string"}}, "did not return column 'name'"),
        ("shout", {"adds": {"loud": "int"}, "drops": ["name"]}, "'loud' is of type string, expected int"),
        ("same", {"adds": {"more": "int"}}, "did not return column 'more'"),
        ("same", {"drops": ["size"]}, "undeclared column 'size'"),
        ("nothing", {}, "returned NoneType, expected a DataFrame"),
        ("broken", {}, "AnalysisException.*nowhere"),
    ],
)
def test_a_function_that_does_not(flow: Flow, name: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(CallBroken, match=message) as caught:
        call(flow, name, **more)
    assert f"{FUNCTIONS}:{name}" in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_function_that_makes_rows(flow: Flow) -> None:
    with pytest.raises(RowsMultiplied, match="3 rows would become 6") as caught:
        call(flow, "double")
    assert (caught.value.before, caught.value.after) == (3, 6)


def test_a_function_that_raises_on_a_row(flow: Flow) -> None:
    with pytest.raises(ExpressionFailed, match=r"raising: .*ValueError: invalid literal.*no number") as caught:
        call(flow, "raising")
    assert "\n" not in str(caught.value)


def test_a_function_that_is_not_there(flow: Flow) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        call(flow, "nowhere")
