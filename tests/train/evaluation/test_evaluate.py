"""Evaluation counts overall and by slice, and bounds how many slices there are."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.features.spec import FeatureSpec
from tests.made_up import SCHEMA, things
from train.evaluation import evaluate
from train.evaluation.evaluate import OTHER, Evaluation, extract_predictions, summarise
from train.preprocessing.statistics import Statistics

pytestmark = pytest.mark.tf


def batch(rows: int = 60) -> pa.RecordBatch:
    return pa.Table.from_pylist(things(rows), SCHEMA).to_batches()[0]


def always_ball(inputs: dict[str, Any]) -> dict[str, Any]:
    rows = len(inputs["weight"])
    return {"probabilities": np.tile(np.float32([0.8, 0.1, 0.1]), (rows, 1)), "class": np.full(rows, "ball")}


def test_overall_and_slices_add_up(spec: FeatureSpec, statistics: Statistics) -> None:
    parts = []
    for piece in (batch(60).slice(0, 25), batch(60).slice(25)):
        part = Evaluation(spec, statistics.label, ("colour",))
        part.add(always_ball, piece)
        parts.append(part)
    found = summarise(parts)
    balls = sum(row["kind"] == "ball" for row in things(60))
    assert found["model"]["accuracy"] == pytest.approx(balls / 60)
    assert sum(slice_["rows"] for slice_ in found["slices"]["colour"].values()) == 60
    assert found["baseline"]["accuracy"] == pytest.approx(balls / 60)
    assert np.sum(found["model"]["confusion"]) == 60
    assert all("confusion" not in slice_ for slice_ in found["slices"]["colour"].values())


def test_many_values_share_one_slice(
    spec: FeatureSpec, statistics: Statistics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "MAX_SLICES", 3)
    part = Evaluation(spec, statistics.label, ("id",))
    part.add(always_ball, batch(10))
    found = summarise([part])["slices"]["id"]
    assert len(found) == 4
    assert found[OTHER]["rows"] == 7


def test_a_binary_answer_becomes_two_columns(spec: FeatureSpec) -> None:
    binary = spec.model_copy(update={"label": spec.label.model_copy(update={"task": "binary", "classes": (0, 1)})})
    found = extract_predictions({"probability": np.float32([0.25])}, binary)
    assert found.tolist() == [[0.75, 0.25]]
