"""Statistics come from the train split alone, and from values that are values."""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from pipelines.config.sections import Features
from pipelines.storage import Store
from pipelines.tables import CLEAN, find_table
from train.errors import NotTrainable
from train.measure import measure
from train.statistics import Statistics

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

FEATURES = Features.model_validate(
    {
        "label": "y",
        "inputs": {
            "x": {"as": "numeric"},
            "size": {"as": "numeric", "log": True},
            "word": {"as": "category", "min_count": 2},
            "code": {"as": "category", "max_vocabulary": 2},
        },
    }
)
TRAIN = {
    "x": [1.0, 3.0, float("nan"), float("inf"), None],
    "size": [0, 1, 2, 3, 4],
    "word": ["b", "b", "a", None, ""],
    "code": [5, 5, 7, 7, 9],
    "y": [0, 1, 1, 0, 1],
}


def measured(spark: "SparkSession", store: Store, test_x: float, **train: list[object]) -> Statistics:
    rows = {**TRAIN, **train}
    held_out = {name: [values[0]] for name, values in rows.items()} | {"x": [test_x], "word": ["z"], "code": [99]}
    table = pa.concat_tables(
        [
            pa.table({**part, "split": [split] * len(part["y"])}, _schema())
            for split, part in (("train", rows), ("test", held_out))
        ]
    )
    write_deltalake(store.path("tables", "p", CLEAN), table, partition_by=["split"], mode="overwrite")
    return measure(spark, find_table(store, "p", CLEAN), FEATURES, classes=True)


def _schema() -> pa.Schema:
    columns = {"x": pa.float64(), "size": pa.int64(), "word": pa.string(), "code": pa.int64(), "y": pa.int64()}
    return pa.schema({**columns, "split": pa.string()})


def test_only_finite_values_of_the_train_split_count(spark: "SparkSession", store: Store) -> None:
    found = measured(spark, store, test_x=1e9)
    assert (found.numeric["x"].mean, found.numeric["x"].std) == (2.0, 1.0)
    assert found.numeric["size"].mean == pytest.approx(np.log1p([0, 1, 2, 3, 4]).mean())
    assert found.vocabularies == {"word": ("b",), "code": (5, 7)}
    assert found.label.counts == ((0, 2), (1, 3))


def test_other_test_rows_change_nothing(spark: "SparkSession", store: Store) -> None:
    assert measured(spark, store, test_x=1e9) == measured(spark, store, test_x=-5.0)


def test_an_input_without_a_value_is_named(spark: "SparkSession", store: Store) -> None:
    with pytest.raises(NotTrainable, match="without a single value in the train split: x"):
        measured(spark, store, test_x=1.0, x=[None] * 5)
    with pytest.raises(NotTrainable, match="categories without a value in the train split: word"):
        measured(spark, store, test_x=1.0, word=["a", "b", "c", "d", None])
