"""Statistics come from the train split alone, and from values that are values."""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from millrace.config.sections.train import Features
from millrace.features.encoding import INT64_MIN
from millrace.storage import Store
from millrace.tables.versions import CLEAN, find_table
from train.errors import NotTrainable
from train.preprocessing.measure import BINS, SAMPLE_ROWS, measure
from train.preprocessing.statistics import Statistics

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


HELD_OUT = {"x": [1e9], "size": [7], "word": ["z"], "code": [99], "y": [1]}


def measured(
    spark: "SparkSession",
    store: Store,
    held_out: dict[str, list[object]] = HELD_OUT,
    features: Features = FEATURES,
    **train: list[object],
) -> Statistics:
    parts = {"train": {**TRAIN, **train}, "validation": held_out, "test": held_out}
    tables = [pa.table({**rows, "split": [split] * len(rows["y"])}, _schema()) for split, rows in parts.items()]
    path = store.uri("tables", "p", CLEAN)
    write_deltalake(path, pa.concat_tables(tables), partition_by=["split"], mode="overwrite")
    return measure(spark, find_table(store, "p", CLEAN), features, ("code",), classes=True)


def _schema() -> pa.Schema:
    columns = {"x": pa.float64(), "size": pa.int64(), "word": pa.string(), "code": pa.int64(), "y": pa.int64()}
    return pa.schema({**columns, "split": pa.string()})


def test_only_finite_values_of_the_train_split_count(spark: "SparkSession", store: Store) -> None:
    found = measured(spark, store)
    assert (found.numeric["x"].mean, found.numeric["x"].std) == (2.0, 1.0)
    assert (found.numeric["x"].min, found.numeric["x"].max) == (1.0, 3.0)
    assert (found.numeric["size"].min, found.numeric["size"].max) == (0.0, 4.0)
    assert found.numeric["size"].mean == pytest.approx(np.log1p([0, 1, 2, 3, 4]).mean())
    assert found.vocabularies == {"word": ("b",), "code": (5, 7)}
    assert found.label.counts == ((0, 2), (1, 3))


def test_other_held_out_rows_change_nothing(spark: "SparkSession", store: Store) -> None:
    """No leakage: neither a mean nor a vocabulary nor a count of classes knows of a row that the model is judged by."""
    others = {"x": [-5.0] * 3, "size": [900] * 3, "word": ["a"] * 3, "code": [9] * 3, "y": [2] * 3}
    first, second = measured(spark, store), measured(spark, store, others)
    assert first.label.counts == second.label.counts
    assert first.model_copy(update={"label": second.label}) == second


def test_an_input_without_a_value_is_named(spark: "SparkSession", store: Store) -> None:
    with pytest.raises(NotTrainable, match="without a single value in the train split: x"):
        measured(spark, store, x=[None] * 5)
    with pytest.raises(NotTrainable, match="categories without a value in the train split: word") as caught:
        measured(spark, store, word=["a", "b", "c", "d", None])
    assert "features.empty_inputs: drop" in caught.value.hint


def test_inputs_without_a_value_can_be_left_out(spark: "SparkSession", store: Store) -> None:
    inputs = {**FEATURES.model_dump(by_alias=True)["inputs"], "size": {"as": "cyclic", "period": 24.0}}
    features = Features.model_validate({"label": "y", "empty_inputs": "drop", "inputs": inputs})
    found = measured(
        spark, store, features=features, x=[None, float("nan")] * 2 + [None], size=[None] * 5, code=[None] * 5
    )
    assert found.empty == ("x", "size", "code")
    assert (found.numeric, found.vocabularies) == ({}, {"word": ("b",)})


@pytest.mark.case("B1")
def test_missing_labels_are_counted_in_each_split(spark: "SparkSession", store: Store) -> None:
    held_out = {"x": [1.0] * 2, "size": [1] * 2, "word": ["a"] * 2, "code": [1] * 2, "y": [None, 1]}
    found = measured(spark, store, held_out, y=[0, None, 1, None, 1]).label
    assert found.rows == {"train": 5, "validation": 2, "test": 2}
    assert found.missing == {"train": 2, "validation": 1, "test": 1}
    assert found.counts == ((0, 1), (1, 2))


def test_statistics_of_values(spark: "SparkSession", store: Store) -> None:
    features = Features.model_validate({**FEATURES.model_dump(by_alias=True), "label": {"column": "x", "log": True}})
    measured(spark, store, {**HELD_OUT, "x": [-2.0]})
    values = np.array([1.0, 3.0])
    found = measure(spark, find_table(store, "p", CLEAN), features, ("code",), classes=False).label
    assert found.missing == {"train": 3}
    assert (found.mean, found.std) == (2.0, 1.0)
    assert found.min == -2.0, "of all splits: the loss is computed on the validation rows, too"
    assert found.log_mean == pytest.approx(np.log1p(values).mean())
    assert found.log_std == pytest.approx(np.log1p(values).std())


def test_quantiles_of_a_small_table_are_exact(spark: "SparkSession", store: Store) -> None:
    found = measured(spark, store)
    assert found.numeric["x"].quantiles == pytest.approx(np.quantile([1.0, 3.0], np.linspace(0, 1, 9)))
    assert found.numeric["size"].quantiles == pytest.approx(np.quantile(np.log1p(range(5)), np.linspace(0, 1, 9)))


def test_quantiles_of_a_large_table_come_from_the_same_sample_each_time(spark: "SparkSession", store: Store) -> None:
    rows = 7 * SAMPLE_ROWS
    values = np.random.default_rng(1).lognormal(0, 3, rows)
    columns = {"id": np.arange(rows), "x": values, "y": np.arange(rows) % 2, "split": ["train"] * rows}
    features = Features.model_validate({"label": "y", "inputs": {"x": {"as": "numeric"}}})
    path = store.uri("tables", "p", CLEAN)
    found = []
    for order in (np.arange(rows), np.random.default_rng(2).permutation(rows)):
        shuffled = pa.table({name: np.asarray(column)[order] for name, column in columns.items()})
        write_deltalake(path, shuffled, partition_by=["split"], mode="overwrite")
        table = find_table(store, "p", CLEAN)
        found.append(measure(spark, table, features, ("id",), classes=True).numeric["x"].quantiles)
    assert found[0] == found[1]
    shares = [(values <= quantile).mean() for quantile in found[0][1:-1]]
    assert shares == pytest.approx(np.arange(1, BINS) / BINS, abs=0.01)


@pytest.mark.parametrize("values", [[1013.25] * 5, [0.3, 0.1 + 0.2, 0.3, 0.3, 0.3], [1e15, 1e15 + 1, None, 1e15, 1e15]])
def test_values_that_differ_by_rounding_have_no_spread(
    spark: "SparkSession", store: Store, values: list[object]
) -> None:
    found = measured(spark, store, x=values).numeric["x"]
    assert found.std == 1.0
    assert measured(spark, store, x=[1e15, 1e15 + 1e4, 1e15, 1e15, None]).numeric["x"].std == pytest.approx(
        4330.1, abs=0.1
    )


def test_equal_labels_have_no_spread(spark: "SparkSession", store: Store) -> None:
    features = Features.model_validate({**FEATURES.model_dump(by_alias=True), "label": "x"})
    measured(spark, store, x=[101.325] * 5)
    assert measure(spark, find_table(store, "p", CLEAN), features, ("code",), classes=False).label.std == 1.0


def test_the_marker_of_a_missing_integer_is_missing(spark: "SparkSession", store: Store) -> None:
    found = measured(spark, store, size=[0, 1, INT64_MIN, 3, 4], code=[INT64_MIN, 5, 7, 7, INT64_MIN])
    assert found.numeric["size"].min == 0
    assert found.vocabularies["code"] == (7, 5)


def test_a_cycle_of_values_that_are_not_finite_is_empty(spark: "SparkSession", store: Store) -> None:
    inputs = {**FEATURES.model_dump(by_alias=True)["inputs"], "x": {"as": "cyclic", "period": 24.0}}
    features = Features.model_validate({"label": "y", "empty_inputs": "drop", "inputs": inputs})
    assert measured(spark, store, features=features, x=[float("nan"), float("inf")] * 2 + [None]).empty == ("x",)
