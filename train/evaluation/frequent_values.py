"""Chooses the values of slice columns that get metrics of their own."""

from typing import TYPE_CHECKING, Final

from millrace.storage import uri_of
from millrace.tables.versions import TableVersion
from train.evaluation.slices import Slices, keys_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MAX_SLICES: Final = 200
"""Values of a slice column that get metrics of their own; the rows of all other values share one entry."""


def frequent_values(spark: "SparkSession", table: TableVersion, columns: tuple[str, ...]) -> Slices:
    """Return the most frequent values of each column in the test split, at most `MAX_SLICES`.

    The driver chooses them, so that all ranks report the same values whatever rows they have.
    """
    from pyspark.sql import functions as F

    frame = spark.read.format("delta").option("versionAsOf", table.version).load(uri_of(table.uri))
    frame = frame.where(F.col("split") == "test")
    found = {}
    for name in columns:
        counts = frame.groupBy(F.col(name).alias("value")).agg(F.count(F.lit(1)).alias("rows"))
        most = counts.orderBy(F.desc("rows"), "value").limit(MAX_SLICES)
        found[name] = tuple(keys_of(most.toArrow().column("value")))
    return found
