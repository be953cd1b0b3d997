"""User functions that the tests name by dotted path."""

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def shout(df: "DataFrame") -> "DataFrame":
    """Add a column, drop another, and leave out a row."""
    return df.withColumn("loud", F.upper("name")).drop("name").where("id <> 2")


def double(df: "DataFrame") -> "DataFrame":
    """Make rows."""
    return df.unionAll(df)


def same(df: "DataFrame") -> "DataFrame":
    """Do nothing."""
    return df


def broken(df: "DataFrame") -> "DataFrame":
    """Raise before anything runs."""
    return df.select("nowhere")


def raising(df: "DataFrame") -> "DataFrame":
    """Raise on a row."""

    return df.withColumn("size", F.udf(lambda number: int(f"no number: {number}"), "int")("size"))


def nothing(df: "DataFrame") -> None:
    """Return nothing."""
