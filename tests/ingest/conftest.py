"""What ingest's tests share."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def persisted(spark: "SparkSession") -> set[int]:
    """Ids of what Spark holds in memory, apart from Delta's own snapshots of its logs."""
    held = spark.sparkContext._jsc.getPersistentRDDs().items()
    return {number for number, rdd in held if not (rdd.name() or "").startswith("Delta Table State")}


@pytest.fixture(autouse=True)
def _nothing_stays_persisted(request: pytest.FixtureRequest) -> Iterator[None]:
    """Frames that a test leaves in Spark's memory would slow all that come after it, as a leak would in a long job."""
    if "spark" not in request.fixturenames:
        yield
        return
    spark = request.getfixturevalue("spark")
    before = persisted(spark)
    yield
    assert persisted(spark) <= before


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    """Unpersists what a test has loaded."""
    with contextlib.ExitStack() as stack:
        yield stack
