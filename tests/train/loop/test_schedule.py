"""What `auto` means, from 20 rows to a billion."""

from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.config.sections.train import Train
from train.loop.schedule import BATCH_SIZES, EPOCHS, Schedule
from train.preprocessing.statistics import LabelStatistics

AUTO = Train(task="binary")


@pytest.mark.parametrize(
    ("rows", "batch_size", "steps", "epochs", "patience"),
    [
        (1, 1, 1, 250, 31),
        (105, 16, 7, 250, 31),
        (5_000, 64, 79, 51, 6),
        (300_000, 4_096, 74, 54, 7),
        (3_000_000, 16_384, 184, 22, 5),
        (1_000_000_000, 16_384, 61_036, 10, 5),
    ],
)
def test_auto(rows: int, batch_size: int, steps: int, epochs: int, patience: int) -> None:
    assert astuple(Schedule.of(AUTO, rows)) == (batch_size, steps, epochs, patience)


@given(rows=st.integers(BATCH_SIZES[0] * 75, BATCH_SIZES[1] * 140))
def test_an_epoch_has_50_to_200_steps_where_the_batch_size_has_no_bound(rows: int) -> None:
    schedule = Schedule.of(AUTO, rows)
    assert 50 <= schedule.steps <= 200
    assert EPOCHS[0] <= schedule.epochs <= EPOCHS[1]
    assert not schedule.is_short


def test_settings_decide_before_auto() -> None:
    chosen = Schedule.of(Train(task="binary", epochs=7, batch_size=100, patience=3), 1_001)
    assert chosen == Schedule(batch_size=100, steps=11, epochs=7, patience=3)
    assert chosen.is_short
    assert Schedule.of(Train(task="binary", epochs=80, patience=None), 1_000).patience is None
    assert Schedule.of(Train(task="binary", epochs=80), 1_000).patience == 10


def test_it_says_what_it_will_do() -> None:
    text = "at most 51 epochs of 79 steps, 64 rows a step over all ranks, ends after 6 without a better loss"
    assert str(Schedule.of(AUTO, 5_000)) == text
    assert str(Schedule(8, 2, 3, None)) == "at most 3 epochs of 2 steps, 8 rows a step over all ranks"


def test_a_step_has_the_more_rows_the_fewer_have_a_label() -> None:
    label = LabelStatistics(rows={"train": 60_000}, missing={"train": 59_400, "test": 9})
    some = Schedule.of(AUTO, 60_000, label)
    assert some == Schedule(batch_size=1_600, steps=38, epochs=105, patience=13)
    assert some.steps == Schedule.of(AUTO, 600).steps
    assert Schedule.of(AUTO, 600, LabelStatistics(missing={"train": 600})).batch_size > 0
