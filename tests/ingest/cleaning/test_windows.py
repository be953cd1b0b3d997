"""Windows: a function that depends on the order of rows needs an order without ties."""

from typing import TYPE_CHECKING

import pytest

from ingest.cleaning.windows import check_order, windows_of
from ingest.errors import ExpressionInvalid, OrderTied

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

ROWS = "SELECT * FROM VALUES (1, 'a', 5, 1), (2, 'a', 5, 2), (3, 'b', 7, 3), (4, NULL, 5, 4), (5, NULL, 5, 5) AS t(id, kind, size, n)"  # noqa: E501


def check(spark: "SparkSession", expression: str) -> None:
    for window in windows_of(expression):
        check_order(spark.sql(ROWS), window, "ingest.steps.0.derive.x", expression)


@pytest.mark.parametrize(
    "expression",
    [
        "size + 1",
        "not an expression (",
        "row_number() over (partition by kind order by size, id desc) = 1",
        "lag(size) over (order by id)",
        "max_by(size, id) over (partition by kind)",
        # What two equal rows share does not depend on which comes first.
        "rank() over (order by size)",
        "sum(size) over (partition by kind order by size)",
        "count(*) over (partition by kind)",
        "sum(size) over (partition by kind rows between unbounded preceding and unbounded following)",
    ],
)
def test_what_every_run_gives_alike(spark: "SparkSession", expression: str) -> None:
    check(spark, expression)


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("row_number() over (partition by kind order by size)", 4),
        ("1 + lag(n) over (order by size)", 4),
        ("first_value(n) ignore nulls over (partition by kind order by size)", 4),
        ("sum(n) over (order by kind rows between 1 preceding and current row)", 4),
        ("max_by(n, size) over (partition by kind)", 4),
        ("case when row_number() over (partition by id order by size) = 1 then ntile(2) over (order by size) end", 4),
    ],
)
def test_an_order_with_ties(spark: "SparkSession", expression: str, rows: int) -> None:
    with pytest.raises(OrderTied, match=rf"derive\.x: {rows} rows are tied in the order of ") as caught:
        check(spark, expression)
    assert caught.value.rows == rows


def test_no_order_at_all(spark: "SparkSession") -> None:
    with pytest.raises(ExpressionInvalid, match="add an ORDER BY that includes the key"):
        check(spark, "first(n) over (partition by kind)")


def test_an_order_that_spark_does_not_understand(spark: "SparkSession") -> None:
    with pytest.raises(ExpressionInvalid, match="gone"):
        check(spark, "row_number() over (order by gone)")
