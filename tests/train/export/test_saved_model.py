"""The exported graph maps raw columns to named outputs; the replay finds a model that gives other outputs."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.features.encoding import encode
from millrace.features.spec import FeatureSpec, Label
from tests.made_up import SCHEMA, things
from train.data.tensors import to_tensor
from train.errors import ReplayMismatch
from train.export.replay import SPEC, compare, replay
from train.export.saved_model import SAMPLE, join_model, output_dtypes, write_sample, write_saved_model
from train.models.tabular import build
from train.preprocessing.layers import build_preprocessing, describe
from train.preprocessing.statistics import LabelStatistics, Statistics

pytestmark = pytest.mark.tf


@pytest.fixture
def exported(tmp_path: Path, spec: FeatureSpec, statistics: Statistics) -> tuple[Path, dict[str, Any]]:
    return export(tmp_path, spec, statistics)


def export(tmp_path: Path, spec: FeatureSpec, statistics: Statistics) -> tuple[Path, dict[str, Any]]:
    preprocessing = build_preprocessing(spec, statistics)
    trunk = build(describe(spec, statistics), len(spec.label.classes) or 1, {"hidden": [4]})
    serve = join_model(spec, preprocessing, trunk, statistics.label)
    batch = pa.Table.from_pylist(things(40), SCHEMA).to_batches()[0]
    outputs = serve({f.name: to_tensor(encode(batch.column(f.name), f)) for f in spec.inputs})
    answers = {name: value.numpy() for name, value in outputs.items()}
    write_saved_model(tmp_path / "model", serve, preprocessing, trunk)
    write_sample(tmp_path / SAMPLE, [batch], [answers], limit=30)
    return tmp_path, answers


def test_a_fresh_process_gives_the_same_answers(exported: tuple[Path, dict[str, Any]], spec: FeatureSpec) -> None:
    folder, answers = exported
    assert set(answers) == set(output_dtypes(spec)) == {"probabilities", "class"}
    assert answers["probabilities"].sum(1) == pytest.approx(np.ones(40), abs=1e-5)
    assert replay(folder, spec, timeout_s=120) <= 1e-5
    assert pq.read_metadata(folder / SAMPLE).num_rows == 30


def changed(folder: Path, name: str, values: list[Any]) -> dict[str, Any]:
    """What the comparison says if the sample has other values of an output."""
    sample = pq.read_table(folder / SAMPLE)
    at = sample.schema.get_field_index(f"output.{name}")
    pq.write_table(sample.set_column(at, f"output.{name}", pa.array(values)), folder / SAMPLE)
    return compare(folder)


def test_another_answer_than_training_s_is_refused(exported: tuple[Path, dict[str, Any]], spec: FeatureSpec) -> None:
    folder, answers = exported
    (folder / SPEC).write_text(spec.model_dump_json(by_alias=True))
    classes = [value.decode() for value in answers["class"][:30]]
    assert changed(folder, "class", classes)["problem"] == ""
    others = ["another", *classes[1:]]
    assert changed(folder, "class", others)["problem"] == "output 'class' differs in 1 of 30 rows"
    changed(folder, "class", classes)
    moved = [[p[0] + 2e-5, *p[1:]] for p in answers["probabilities"][:30].tolist()]
    assert re.match(
        r"outputs differ by 2\.\d+e-05, more than 1e-05", changed(folder, "probabilities", moved)["problem"]
    )


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_values_are_compared_relative_to_their_size(
    tmp_path: Path, spec: FeatureSpec, statistics: Statistics, scale: float
) -> None:
    spec = spec.model_copy(update={"label": Label(name="kind", task="regression")})
    statistics = statistics.model_copy(update={"label": LabelStatistics(mean=2 * scale, std=scale)})
    _, answers = export(tmp_path, spec, statistics)
    (tmp_path / SPEC).write_text(spec.model_dump_json(by_alias=True))
    values = answers["prediction"][:30]
    assert compare(tmp_path)["problem"] == ""
    found = changed(tmp_path, "prediction", (values * 1.0001).tolist())
    assert "more than 1e-05" in found["problem"]


def test_a_model_that_does_not_load_is_refused(exported: tuple[Path, dict[str, Any]], spec: FeatureSpec) -> None:
    folder, _ = exported
    (folder / "model" / "variables" / "variables.index").unlink()
    with pytest.raises(ReplayMismatch, match="failed its replay"):
        replay(folder, spec, timeout_s=120)


def test_a_model_that_never_answers_is_refused(tmp_path: Path, spec: FeatureSpec) -> None:
    with pytest.raises(ReplayMismatch, match="no answer within 0 s") as caught:
        replay(tmp_path, spec, timeout_s=0.01)
    assert caught.value.hint == "raise train.deadline_s"


def test_outputs_by_task(spec: FeatureSpec) -> None:
    binary = spec.model_copy(update={"label": spec.label.model_copy(update={"task": "binary", "classes": (0, 1)})})
    assert output_dtypes(binary) == {"probability": "float32", "class": "int64"}
    value = spec.model_copy(update={"label": spec.label.model_copy(update={"task": "regression", "classes": ()})})
    assert output_dtypes(value) == {"prediction": "float64"}
