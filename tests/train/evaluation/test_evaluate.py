"""Evaluation counts overall and by slice, and bounds how many slices there are."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from millrace.errors import DataRejected
from millrace.features.spec import FeatureSpec
from millrace.storage import Store
from millrace.tables.versions import CLEAN, TableVersion, find_table
from tests.made_up import SCHEMA, things
from train.evaluation.evaluate import Evaluation, extract_predictions, summarise
from train.evaluation.frequent_values import MAX_SLICES, frequent_values
from train.evaluation.held_out import parts_of, problem_of
from train.evaluation.slices import OTHER, keys_of
from train.preprocessing.statistics import Statistics

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.tf


def batch(rows: int = 60) -> pa.RecordBatch:
    return pa.Table.from_pylist(things(rows), SCHEMA).to_batches()[0]


def always_ball(inputs: dict[str, Any]) -> dict[str, Any]:
    rows = len(inputs["weight"])
    return {"probabilities": np.tile(np.float32([0.8, 0.1, 0.1]), (rows, 1)), "class": np.full(rows, "ball")}


def test_overall_and_slices_add_up(spec: FeatureSpec, statistics: Statistics) -> None:
    parts = []
    for piece in (batch(60).slice(0, 25), batch(60).slice(25)):
        part = Evaluation(spec, statistics.label, {"colour": ("red",)})
        part.add(always_ball, piece)
        parts.append(part)
    found = summarise(parts)
    balls = sum(row["kind"] == "ball" for row in things(60))
    assert found["model"]["accuracy"] == pytest.approx(balls / 60)
    assert sum(slice_["rows"] for slice_ in found["slices"]["colour"].values()) == 60
    assert found["baseline"]["accuracy"] == pytest.approx(balls / 60)
    assert np.sum(found["model"]["confusion"]) == 60
    assert all("confusion" not in slice_ for slice_ in found["slices"]["colour"].values())


@pytest.mark.case("B3")
def test_all_ranks_report_the_values_that_the_driver_chose(spec: FeatureSpec, statistics: Statistics) -> None:
    whole = batch(60)
    slices = {"corners": ("0", "8", "(missing)"), "colour": ("red", "no such")}
    summaries = []
    for cut in (0, 7, 30, 60):
        parts = [Evaluation(spec, statistics.label, slices) for _ in range(2)]
        for part, piece in zip(parts, (whole.slice(0, cut), whole.slice(cut)), strict=True):
            part.add(always_ball, piece)
        summaries.append(summarise(parts)["slices"])
    for found in summaries:
        assert {column: list(values) for column, values in found.items()} == {
            column: list(values) for column, values in summaries[0].items()
        }
        for column, values in found.items():
            for value, metrics in values.items():
                assert metrics == pytest.approx(summaries[0][column][value])
    corners = [row["corners"] for row in things(60)]
    expected = {"0": corners.count(0), "8": corners.count(8), "(missing)": corners.count(None)}
    counted = {value: metrics["rows"] for value, metrics in summaries[0]["corners"].items()}
    assert counted == {**expected, OTHER: 60 - sum(expected.values())}
    assert set(summaries[0]["colour"]) == {"red", "no such", OTHER}


@pytest.mark.spark
def test_the_most_frequent_values_of_the_test_split(
    spark: "SparkSession", table: TableVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row for file in table.files_of("test") for row in pq.read_table(file.path).to_pylist()]
    for name in ("colour", "round", "corners", "weight", "size", "found"):
        found = frequent_values(spark, table, (name,))[name]
        column = pa.array([row[name] for row in rows], SCHEMA.field(name).type)
        counts = Counter(keys_of(column))
        assert len(found) == min(len(counts), MAX_SLICES)
        assert [counts[value] for value in found] == [n for _, n in counts.most_common(MAX_SLICES)]
    monkeypatch.setattr("train.evaluation.frequent_values.MAX_SLICES", 2)
    assert len(frequent_values(spark, table, ("colour",))["colour"]) == 2


def test_outputs_that_are_not_finite_are_told(spec: FeatureSpec, statistics: Statistics) -> None:
    def broken(inputs: dict[str, Any]) -> dict[str, Any]:
        outputs = always_ball(inputs)
        outputs["probabilities"][3:5, 0] = np.nan
        return outputs

    with pytest.raises(DataRejected, match=r"the model's outputs are not finite for 2 of 60 rows"):
        Evaluation(spec, statistics.label, {}).add(broken, batch(60))


def test_a_binary_answer_becomes_two_columns(spec: FeatureSpec) -> None:
    binary = spec.model_copy(update={"label": spec.label.model_copy(update={"task": "binary", "classes": (0, 1)})})
    found = extract_predictions({"probability": np.float32([0.25])}, binary)
    assert found.tolist() == [[0.75, 0.25]]


@pytest.mark.spark
def test_slice_columns_of_any_name(spark: "SparkSession", store: Store) -> None:
    rows = pa.table({"count": [1, 1, 2], "value": [0.0, -0.0, None], "split": ["test"] * 3})
    write_deltalake(store.uri("tables", "p", CLEAN), rows, partition_by=["split"])
    found = frequent_values(spark, find_table(store, "p", CLEAN), ("count", "value"))
    assert found == {"count": ("1", "2"), "value": ("0.0", "(missing)")}
    assert keys_of(rows.column("value")) == ["0.0", "0.0", "(missing)"]


def test_batches_are_cut_by_the_number_of_classes(spec: FeatureSpec) -> None:
    def parts(classes: int) -> list[int]:
        label = spec.label.model_copy(update={"classes": tuple(range(classes))})
        rows = pa.RecordBatch.from_pydict({"x": range(9_000)})
        return [part.num_rows for part in parts_of(iter([rows]), spec.model_copy(update={"label": label}))]

    assert parts(0) == parts(3) == [4_096, 4_096, 808]
    assert parts(1 << 20) == [4] * 2_250


def test_what_is_wrong_with_the_version_before_does_not_end_the_run(spec: FeatureSpec, statistics: Statistics) -> None:
    def refuses(inputs: dict[str, Any]) -> dict[str, Any]:
        raise OSError("no such table")

    def broken(inputs: dict[str, Any]) -> dict[str, Any]:
        return {**always_ball(inputs), "probabilities": np.full((60, 3), np.nan)}

    assert problem_of(Evaluation(spec, statistics.label, {}), always_ball, batch()) == ""
    assert problem_of(Evaluation(spec, statistics.label, {}), refuses, batch()) == "OSError: no such table"
    assert "not finite for 60 of 60 rows" in problem_of(Evaluation(spec, statistics.label, {}), broken, batch())
