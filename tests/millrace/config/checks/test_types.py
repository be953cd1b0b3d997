"""Types that may be compared in joins: Spark's answer is that of exact arithmetic for them, and is not for others."""

from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING

import pytest

from millrace.config.checks.types import are_comparable

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TYPES = (
    "smallint",
    "int",
    "bigint",
    "float",
    "double",
    "decimal(20,0)",
    "decimal(10,2)",
    "decimal(38,2)",
    "decimal(38,20)",
)
TEXTS = (
    "0",
    "5",
    "1.00",
    "1.004",
    "1.25",
    "0.1",
    "0.5",
    "16777216",
    "16777217",
    "9007199254740992",
    "9007199254740993",
)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("bigint", "double", False),
        ("bigint", "float", False),
        ("int", "double", True),
        ("int", "float", False),
        ("smallint", "float", True),
        ("float", "double", True),
        ("tinyint", "bigint", True),
        ("decimal(10,2)", "double", False),
        ("decimal(10,2)", "decimal(12,4)", True),
        ("decimal(38,2)", "decimal(38,20)", False),
        ("decimal(18,0)", "bigint", True),
        ("decimal(38,20)", "bigint", False),
        ("string", "int", False),
        ("date", "timestamp", False),
        ("string", "string", True),
    ],
)
def test_pairs(left: str, right: str, expected: bool) -> None:
    assert are_comparable(left, right) == are_comparable(right, left) == expected


@pytest.mark.spark
@pytest.mark.parametrize("ansi", ["true", "false"])
def test_spark_compares_exactly_if_they_are_comparable(spark: "SparkSession", ansi: str) -> None:
    usual = spark.conf.get("spark.sql.ansi.enabled", "true")
    spark.conf.set("spark.sql.ansi.enabled", ansi)
    try:
        compare(spark)
    finally:
        spark.conf.set("spark.sql.ansi.enabled", str(usual))


def compare(spark: "SparkSession") -> None:
    """Compare every pair of texts as every pair of types with Python's exact numbers."""
    frame = spark.createDataFrame([(text,) for text in TEXTS], "text string")
    frame = frame.selectExpr("text", *(f"try_cast(text as {name}) as `{name}`" for name in TYPES))
    left, right = frame.alias("l"), frame.alias("r")
    pairs = [pair for pair in product(TYPES, TYPES) if are_comparable(*pair)]
    shown = [f"l.`{a}` = r.`{b}` as `{a}|{b}`" for a, b in pairs]
    exact = [f"cast(l.`{name}` as {shown_as(name)}) as `l {name}`" for name in TYPES]
    exact += [f"cast(r.`{name}` as {shown_as(name)}) as `r {name}`" for name in TYPES]
    rows = left.crossJoin(right).selectExpr(*shown, *exact).collect()
    compared = 0
    for row in rows:
        for a, b in pairs:
            mine, theirs = row[f"l {a}"], row[f"r {b}"]
            if mine is not None and theirs is not None:
                assert row[f"{a}|{b}"] == (Decimal(mine) == Decimal(theirs)), (a, b, mine, theirs)
                compared += 1
    assert compared > 1_000


def shown_as(type_name: str) -> str:
    """A type whose Python value is exact: Python's float holds both floats of Spark."""
    return (
        "double"
        if type_name in ("float", "double")
        else "decimal(38,20)"
        if type_name == "decimal(38,20)"
        else type_name
    )
