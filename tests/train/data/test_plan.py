"""Every row is seen once in an epoch, and who reads it does not change when."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from millrace.config.sections.profile import SHARDS
from millrace.tables.versions import DataFile
from train.data.plan import WINDOW, EpochPlan, ShardOrder, SplitPlan
from train.world import World


def split_of(*rows: int) -> SplitPlan:
    return SplitPlan(tuple(DataFile(f"part-{n}", count, {}) for n, count in enumerate(rows)))


@given(rows=st.integers(1, 20_000), batch_size=st.integers(1, 4_096))
def test_each_row_of_a_shard_is_in_exactly_one_step(rows: int, batch_size: int) -> None:
    plan = EpochPlan.of(split_of(rows), batch_size)
    steps = sorted({0, 1, plan.steps // 2, plan.steps - 1, plan.steps})
    starts = np.stack([plan.starts(step) for step in steps])
    assert (starts[0] == 0).all()
    assert (starts[-1] == [plan.split.start(s + 1) - plan.split.start(s) for s in range(SHARDS)]).all()
    assert (np.diff(starts, axis=0) >= 0).all()


@given(rows=st.integers(2_000, 200_000), batch_size=st.integers(256, 4_096))
def test_steps_hold_nearly_the_same_number_of_rows(rows: int, batch_size: int) -> None:
    plan = EpochPlan.of(split_of(rows), batch_size)
    counts = np.diff([plan.starts(step).sum() for step in range(plan.steps + 1)])
    assert counts.sum() == rows
    assert counts.max() - counts.min() <= max(2, 0.1 * counts.mean())


@given(rows=st.integers(500, 50_000), batch_size=st.sampled_from([64, 500, 4_096]), size=st.sampled_from([2, 4, 8]))
def test_ranks_have_nearly_the_same_number_of_rows_in_each_step(rows: int, batch_size: int, size: int) -> None:
    plan = EpochPlan.of(split_of(rows), batch_size)
    for step in {0, plan.steps // 2, plan.steps - 1}:
        shards = plan.starts(step + 1) - plan.starts(step)
        counts = [shards[World(rank, size).shards()].sum() for rank in range(size)]
        assert max(counts) - min(counts) <= max(8, 0.35 * sum(counts) / size)


@given(rows=st.integers(1, 100_000), size=st.sampled_from([1, 2, 3, 4, 5, 6, 8, 16]))
def test_ranks_share_all_rows_and_differ_by_one_at_most(rows: int, size: int) -> None:
    shares = [split_of(rows).share(World(rank, size)) for rank in range(size)]
    assert shares[0][0] == 0
    assert shares[-1][1] == rows
    assert all(left[1] == right[0] for left, right in pairwise(shares))
    lengths = [stop - start for start, stop in shares]
    assert max(lengths) - min(lengths) <= 1


def test_a_step_holds_the_same_rows_for_every_world_size() -> None:
    split = split_of(7_000, 3_001)
    plan = EpochPlan.of(split, 1_000)

    def rows_of_step(size: int, step: int) -> set[int]:
        found = set()
        for rank in range(size):
            for shard in World(rank, size).shards():
                start = split.start(shard)
                order = ShardOrder(split.start(shard + 1) - start, seed=3, epoch=1, shard=shard)
                low, high = (int(plan.starts(s)[shard]) for s in (step, step + 1))
                found |= {int(start + place) for place in order.take(low, high)}
        return found

    assert all(rows_of_step(1, step) == rows_of_step(4, step) for step in range(plan.steps))


def test_the_order_changes_with_the_epoch_and_stays_inside_windows() -> None:
    rows = WINDOW + 100
    first, again, second = (ShardOrder(rows, seed=1, epoch=e, shard=5).take(0, rows) for e in (0, 0, 1))
    assert (first == again).all()
    assert (first != second).any()
    assert set(first[:WINDOW]) == set(range(WINDOW))
    assert set(first) == set(range(rows))


@given(st.lists(st.integers(0, 2 * WINDOW), max_size=8))
def test_an_order_that_is_taken_in_parts_is_the_same(cuts: list[int]) -> None:
    rows = 2 * WINDOW + 7
    order, places = ShardOrder(rows, seed=1, epoch=2, shard=3), sorted([0, *cuts, rows])
    parts = [order.take(start, stop) for start, stop in pairwise(places)]
    assert (np.concatenate(parts) == ShardOrder(rows, seed=1, epoch=2, shard=3).take(0, rows)).all()


def test_ranges_name_rows_inside_files() -> None:
    ranges = split_of(10, 5, 20).ranges(8, 17)
    assert [(r.path, r.start, r.stop) for r in ranges] == [("part-0", 8, 10), ("part-1", 0, 5), ("part-2", 0, 2)]
