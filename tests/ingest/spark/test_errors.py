"""Spark's errors: whose fault it was decides what they become."""

import re
from typing import TYPE_CHECKING

import pytest
from py4j.protocol import Py4JError

from ingest.errors import ExpressionFailed, ExpressionInvalid
from ingest.spark.errors import mapped_actions, mapped_analysis, space_hint
from millrace.errors import ConfigError, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession


@pytest.mark.spark
@pytest.mark.parametrize("query", ["SELECT nope", "SELECT 1 +", "SELECT 1 + map(1, 2)"])
def test_what_cannot_be_analysed(spark: "SparkSession", query: str) -> None:
    with pytest.raises(ExpressionInvalid, match=r"^step: expression: \["), mapped_analysis("step", "expression"):
        spark.sql(query)


@pytest.mark.spark
def test_a_value_that_does_not_fit(spark: "SparkSession") -> None:
    frame = spark.range(3).selectExpr("10 div id AS x")
    with pytest.raises(ExpressionFailed, match=r"^what: \[DIVIDE_BY_ZERO\].* in: 10 div id$") as caught:
        with mapped_actions("what"):
            frame.collect()
    assert "try_divide" in caught.value.hint


@pytest.mark.spark
@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "cast(name as int)",
            r'\[CAST_INVALID_INPUT\] The value \(a value\) of the type "STRING" cannot be cast to "INT"',
        ),
        ("cast(cast(concat('47', substr(name, 8)) as bigint) * 100000 as int)", r"\[CAST_OVERFLOW\]"),
        ("to_date(name, 'yyyy')", "CANNOT_PARSE|INVALID"),
        # Spark advises to turn ANSI off, which would make the value null.
        ("10 div (length(name) - 11)", r"\[DIVIDE_BY_ZERO\] Division by zero\. Use `try_divide`"),
    ],
)
def test_a_message_has_no_values(
    spark: "SparkSession", query: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    frame = spark.createDataFrame([("secret-4711",)], "name string").selectExpr(query)
    with pytest.raises(ExpressionFailed, match=message) as caught, mapped_actions("what"):
        frame.collect()
    assert not re.search("4711|spark[.]sql", str(caught.value))
    assert "4711" not in capfd.readouterr().err


@pytest.mark.spark
def test_a_pattern_that_is_none(spark: "SparkSession") -> None:
    frame = spark.range(1).selectExpr("to_date(concat('2024-01-0', id), 'yyyy-MM-dd QQQQQQ')")
    with pytest.raises(ConfigError, match=r"^what: .*yyyy-MM-dd QQQQQQ"), mapped_actions("what"):
        frame.collect()


@pytest.mark.spark
def test_a_file_that_went_away(spark: "SparkSession", tmp_path: "Path") -> None:
    spark.range(3).write.parquet(str(tmp_path / "data"))
    frame = spark.read.parquet(str(tmp_path / "data"))
    for path in (tmp_path / "data").glob("part-*"):
        path.unlink()
    with pytest.raises(Unavailable, match=r"^what: Spark failed: ") as caught, mapped_actions("what"):
        frame.collect()
    assert "\n" not in str(caught.value)


def test_a_spark_that_is_gone() -> None:
    with pytest.raises(Unavailable, match=r"^what: Spark failed: Answer from Java side is empty"):
        with mapped_actions("what"):
            raise Py4JError("Answer from Java side is empty\nand more")


@pytest.mark.spark
def test_an_error_that_only_java_knows(spark: "SparkSession") -> None:
    with pytest.raises(Unavailable, match=r"^what: Spark failed: java\.io\.IOException: "):
        with mapped_actions("what"):
            spark.sparkContext._jvm.java.io.File("/nowhere/x").createNewFile()


def test_where_to_get_space() -> None:
    assert "quota" in space_hint("The DiskSpace quota of /x is exceeded: quota = 1 MB")
    assert "free some space" in space_hint("java.io.IOException: No space left on device")
    assert space_hint("java.io.IOException: Broken pipe") == ""


def test_other_errors_are_let_through() -> None:
    with pytest.raises(KeyError), mapped_actions("what"), mapped_analysis("step", "x"):
        raise KeyError("x")
