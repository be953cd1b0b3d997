"""A rank's rows arrive in the plan's order, from memory and from the local disk."""

import shutil
import tracemalloc
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from millrace.errors import ConfigError
from millrace.features.spec import FeatureSpec, Label
from millrace.tables.versions import TableVersion
from train.data.cache import RankRows, epoch_batches
from train.data.plan import EpochPlan, SplitPlan
from train.data.rows import Reader, Rows
from train.data.spill import Spill
from train.data.tensors import MISSING, UNKNOWN, encode_labels, is_known
from train.preprocessing.layers import build_preprocessing
from train.preprocessing.statistics import Statistics
from train.world import World

pytestmark = pytest.mark.tf


@pytest.fixture
def reader(spec: FeatureSpec, statistics: Statistics, table: TableVersion) -> Reader:
    return Reader(SplitPlan(table.files_of("train")), spec, build_preprocessing(spec, statistics), lambda: None)


def batches_of(reader: Reader, world: World, budget: int) -> list[tuple[Rows, np.ndarray]]:
    plan = EpochPlan.of(reader.split, 128)
    with RankRows(reader, world, budget) as rows:
        return list(epoch_batches(rows, plan, seed=5, epoch=0, class_weights=None))


def everything(reader: Reader) -> Rows:
    rows = reader.empty().allocate(reader.split.rows)
    position = 0
    for part in reader.read(0, reader.split.rows):
        rows.put(position, part)
        position += len(part)
    return rows


def test_two_ranks_see_every_row_once(reader: Reader, table: TableVersion) -> None:
    both = [batches_of(reader, World(rank, 2), 2**30) for rank in (0, 1)]
    assert len(both[0]) == len(both[1])
    seen = np.concatenate([rows.numeric[weights > 0] for batches in both for rows, weights in batches])
    assert len(seen) == table.rows_of("train")
    assert (np.sort(seen, axis=0) == np.sort(everything(reader).numeric, axis=0)).all()


@pytest.mark.parametrize("budget", [0, 2**30])
def test_a_rank_s_rows_are_those_of_the_table(reader: Reader, budget: int) -> None:
    world = World(1, 2)
    start, stop = reader.split.share(world)
    indices = np.array([stop - start - 1, 0, 5, 5])
    with RankRows(reader, world, budget) as rows:
        assert rows.in_memory == bool(budget)
        parts, taken = list(rows.in_order(rows=100)), rows.take(indices)
    assert [len(part) for part in parts[:-1]] == [100] * (len(parts) - 1)
    for name in ("numeric", "category", "label"):
        own = getattr(everything(reader), name)[start:stop]
        assert (np.concatenate([getattr(part, name) for part in parts]) == own).all()
        assert (getattr(taken, name) == own[indices]).all()


def test_a_rank_without_rows_in_a_step_gets_one_of_weight_0(reader: Reader) -> None:
    steps = 10_000
    rows = RankRows(reader, World(0, 4), 2**30)
    plan = EpochPlan(reader.split, steps)
    batches = list(epoch_batches(rows, plan, seed=5, epoch=0, class_weights=None))
    assert len(batches) == steps
    assert {len(chosen) for chosen, _ in batches} == {1}
    assert sum(weights.sum() for _, weights in batches) == len(rows)


@pytest.mark.case("B15")
def test_rows_beyond_the_budget_are_not_in_memory(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = 8 * 2**20
    part = next(iter(reader.read(0, reader.split.rows)))
    few = replace(reader.split.files[0], rows=len(part))
    many = SplitPlan((few,) * (4 * budget // (part.row_bytes * len(part))))
    monkeypatch.setattr(reader, "split", many)
    monkeypatch.setattr(reader, "read", lambda start, stop: repeat(part, len(many.files)))
    tracemalloc.start()
    with RankRows(reader, World(0, 1), budget) as rows:
        plan = EpochPlan.of(many, 8_192)
        for _ in epoch_batches(rows, plan, seed=5, epoch=0, class_weights=None):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not rows.in_memory
    assert peak < budget


def test_a_disk_without_space_is_told_in_figures(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SPARK_LOCAL_DIRS", f"{tmp_path},/other")
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(ConfigError, match=rf"{tmp_path} has \d+ MiB for \d+ MiB") as caught:
        Spill(reader.empty(), free // reader.empty().row_bytes)
    assert "SPARK_LOCAL_DIRS" in caught.value.hint


def test_the_space_on_the_disk_is_reserved(reader: Reader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Otherwise two ranks, or two splits, could both find the same free space."""
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(tmp_path))
    before = shutil.disk_usage(tmp_path).free
    spill = Spill(reader.empty(), 64 * 2**20 // reader.empty().row_bytes)
    assert before - shutil.disk_usage(tmp_path).free > 32 * 2**20
    spill.close()


def test_no_rows_have_the_right_widths(reader: Reader) -> None:
    empty = reader.empty()
    assert empty.numeric.shape == (0, 7)
    assert empty.category.shape == (0, 4)


def test_labels_that_are_missing_or_of_an_unknown_class(spec: FeatureSpec) -> None:
    assert encode_labels(pa.array(["cone", None, "egg", "ball"]), spec).tolist() == [2, MISSING, UNKNOWN, 0]
    numbers = spec.model_copy(
        update={"label": Label.model_validate({"name": "kind", "task": "binary", "classes": [0, 1]})}
    )
    assert encode_labels(pa.array([True, None, False]), numbers).tolist() == [1, MISSING, 0]
    assert encode_labels(pa.array([1, None, 7], pa.int32()), numbers).tolist() == [1, MISSING, UNKNOWN]
    assert encode_labels(pa.array([], pa.int32()), numbers).tolist() == []
    values = spec.model_copy(update={"label": Label.model_validate({"name": "kind", "task": "regression"})})
    labels = encode_labels(pa.array([1.0, None, float("nan"), 1e39, 16_777_217.0]), values)
    assert np.nan_to_num(labels, nan=-1).tolist() == [1, -1, -1, -1, 16_777_217]
    assert is_known(labels).tolist() == [True, False, False, False, True]
