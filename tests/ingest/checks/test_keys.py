"""Keys that differ for a reader who compares texts or bits, and are equal for Spark, or the other way round."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ingest import stage
from ingest.errors import KeyBroken
from ingest.spark.columns import hash_of
from millrace.storage import Store
from tests.ingest.small import Small, csv
from tests.ingest.table.growing import Growing

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

ZERO = {"x": "double", "name": "string"}
SEEN = {"seen": "timestamp", "name": "string"}
TWICE = "2024-11-03T05:30:00Z"
"""Half past one in New York, where the clock is set back half an hour later."""


def keyed(small: Small, key: str) -> Small:
    small.ingest["key"] = [key]
    small.contract["expectations"] = [{"expect_column_values_to_not_be_null": {"column": key}}]
    return small.learning("name", label=key)


@pytest.mark.parametrize("of_type", ["float", "double"])
def test_zeros_of_both_signs_have_one_hash(spark: "SparkSession", of_type: str) -> None:
    values = [f"cast('{text}' as {of_type})" for text in ("0", "-0", "0.5", "-0.5")]
    frame = spark.sql(" union all ".join(f"select {value} x" for value in values))
    assert len({row[0] for row in frame.select(hash_of(("x",))).collect()}) == 3


def test_zeros_of_both_signs_are_one_key_in_one_delivery(spark: "SparkSession", store: Store, tmp_path: Path) -> None:
    lines = csv("x,name", *(f"{n},a" for n in range(1, 50)), "0.0,a", "-0.0,b")
    small = keyed(Small(tmp_path).source(lines, columns=ZERO), "x")
    with pytest.raises(KeyBroken, match="2 rows have a key that is not unique"):
        stage.run(small.build(), spark, store, "run1")


def test_zeros_of_both_signs_are_one_key_in_two_deliveries(spark: "SparkSession", store: Store, tmp_path: Path) -> None:
    growing = Growing(tmp_path, spark, store)
    growing.small.sources["things"]["columns"] = ZERO
    keyed(growing.small, "x")
    growing.put("1.csv", csv("x,name", "0.0,a", "1,a"))
    growing.run()
    growing.put("2.csv", csv("x,name", "-0.0,b"))
    with pytest.raises(KeyBroken, match="key that is already in the table"):
        growing.run()


@pytest.mark.parametrize("times", [(TWICE, "2024-11-03T06:30:00Z", TWICE), (TWICE, "2024-11-03T06:30:00Z")])
def test_times_with_one_text_in_the_zone_of_the_session(
    spark: "SparkSession", store: Store, tmp_path: Path, times: Sequence[str]
) -> None:
    lines = csv("seen,name,size", *(f"{each},a,1" for each in times))
    small = keyed(Small(tmp_path).source(lines, columns={**SEEN, "size": "int"}), "seen").learning("name", label="size")
    zone = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    try:
        if len(times) == len(set(times)):
            assert stage.run(small.build(), spark, store, "run1").rows_out == len(times)
            return
        with pytest.raises(KeyBroken, match="2 rows have a key that is not unique"):
            stage.run(small.build(), spark, store, "run1")
    finally:
        spark.conf.set("spark.sql.session.timeZone", str(zone))
