"""The footers of the written files say the same about them as Spark, or that they do not know."""

from typing import TYPE_CHECKING

import pytest

from ingest.checks.footers import Footers, read_footers
from ingest.checks.statistics import measure, of_footers
from ingest.cleaning.flow import DROPPED, Flow
from ingest.table.arrange import HASH, arrange, with_split
from ingest.table.clean import CleanWrite
from millrace.config.sections.ingest import Contract, Ingest
from millrace.retry import NO_RETRY
from millrace.storage import Store

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

KEY = ("id", "name")
CONTRACT = Contract(expectations=[{"expect_column_values_to_not_be_null": {"column": name}} for name in ("x", "few")])
GOOD = {
    "id": "id",
    "name": "concat('n', id % 7)",
    "x": "double(id) / 3",
    "few": "if(id % 50 = 0, id, null)",
    "none": "cast(null as int)",
    "nested": "array(id)",
}


def footers_of(spark: "SparkSession", store: Store, **changed: str) -> Footers:
    rows, ingest = 1000, Ingest(base="things", key=KEY)
    columns = [f"{expression} AS {name}" for name, expression in (GOOD | changed).items()]
    flow = Flow.start(spark.range(rows).selectExpr(*columns))
    with CleanWrite(spark, store, "small", None) as write:
        write.write(arrange(with_split(flow.frame, ingest).drop(DROPPED), 3).drop(HASH))
        footers = read_footers(write.paths, write.bytes, KEY, spark, NO_RETRY)
        assert footers is not None
        known = of_footers(footers, rows, KEY, CONTRACT, "none")
        counted = measure(write.read(), rows, KEY, CONTRACT, "none")
        if known is not None:
            assert (known.rows, known.null_keys, known.non_null) == (rows, counted.null_keys, counted.non_null)
            assert not any(counted.not_finite.values())
        else:
            assert counted.null_keys or any(counted.not_finite.values())
        return footers


def test_the_same_figures_as_spark(spark: "SparkSession", store: Store) -> None:
    footers = footers_of(spark, store)
    assert {name: footers.nulls[name] for name in GOOD if name != "nested"} == {
        "id": 0, "name": 0, "x": 0, "few": 980, "none": 1000,
    }  # fmt: skip
    assert not footers.not_finite


@pytest.mark.parametrize("value", ["double('NaN')", "double('Infinity')", "double('-Infinity')"])
def test_values_that_are_not_finite(spark: "SparkSession", store: Store, value: str) -> None:
    footers = footers_of(spark, store, x=f"if(id = 7, {value}, 1)", few=f"if(id < 5, float({value}), null)")
    assert footers.not_finite == {"x", "few"}


@pytest.mark.parametrize(
    ("name", "repeated"), [("if(id = 999, 'n3', concat('n', id % 7))", True), ("string(id)", False)]
)
def test_equal_keys_lie_side_by_side(spark: "SparkSession", store: Store, name: str, repeated: bool) -> None:
    footers = footers_of(spark, store, id="if(id = 999, 3, id)", name=name)
    assert footers.has_repeated_keys == repeated


def test_nulls_in_the_key(spark: "SparkSession", store: Store) -> None:
    assert footers_of(spark, store, name="if(id = 5, null, 'n')").nulls["name"] == 1
