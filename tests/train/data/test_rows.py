"""A rank's rows arrive in the plan's order, from memory or from the files alike."""

import numpy as np
import pytest

from millrace.features.spec import FeatureSpec
from millrace.tables.versions import TableVersion
from train.data import rows as rows_module
from train.data.cache import ShardCache, epoch_batches
from train.data.plan import EpochPlan, SplitPlan
from train.data.rows import Reader
from train.preprocessing.layers import NUMERIC, build_preprocessing
from train.preprocessing.statistics import Statistics
from train.world import World

pytestmark = pytest.mark.tf


@pytest.fixture
def reader(spec: FeatureSpec, statistics: Statistics, table: TableVersion) -> Reader:
    return Reader(SplitPlan(table.files_of("train")), spec, build_preprocessing(spec, statistics), lambda: None)


def batches_of(reader: Reader, world: World, budget: int) -> list[tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]]:
    plan = EpochPlan.of(reader.split, 128)
    return list(epoch_batches(ShardCache(reader, world, budget), plan, world, seed=5, epoch=0, class_weights=None))


def test_two_ranks_see_every_row_once(reader: Reader, table: TableVersion) -> None:
    both = [batches_of(reader, World(rank, 2), 2**30) for rank in (0, 1)]
    assert len(both[0]) == len(both[1])
    seen = np.concatenate([inputs[NUMERIC] for batches in both for inputs, _, _ in batches])
    everything = reader.read(0, reader.split.rows).numeric
    assert len(seen) == table.rows_of("train")
    assert (np.sort(seen, axis=0) == np.sort(everything, axis=0)).all()


def test_weights_make_the_mean_over_ranks_the_mean_over_rows(reader: Reader) -> None:
    both = [batches_of(reader, World(rank, 2), 2**30) for rank in (0, 1)]
    for first, second in zip(*both, strict=True):
        assert (first[2].sum() + second[2].sum()) / 2 == pytest.approx(1.0, abs=1e-5)


def test_rows_read_again_are_those_kept_in_memory(reader: Reader) -> None:
    world = World(0, 2)
    kept = batches_of(reader, world, 2**30)
    cache = ShardCache(reader, world, 1)
    assert not cache.in_memory
    again = batches_of(reader, world, 1)
    for (left, label, weight), (right, other_label, other_weight) in zip(kept, again, strict=True):
        assert left[NUMERIC] == pytest.approx(right[NUMERIC], abs=1e-6)
        assert (label == other_label).all()
        assert (weight == other_weight).all()


def test_in_order_gives_the_share_in_parts(reader: Reader) -> None:
    world = World(1, 2)
    start, stop = reader.split.share(world)
    for budget in (1, 2**30):
        parts = list(ShardCache(reader, world, budget).in_order(world, rows=100))
        assert [len(part) for part in parts[:-1]] == [100] * (len(parts) - 1)
        joined = rows_module.Rows.concatenate(parts)
        assert joined.numeric == pytest.approx(reader.read(start, stop).numeric, abs=1e-6)


def test_no_rows_have_the_right_widths(reader: Reader) -> None:
    empty = reader.empty()
    assert empty.numeric.shape == (0, 7)
    assert empty.category.shape == (0, 4)
