"""How many are let in."""

import pytest

from serve import admission as module
from serve.admission import LEAST, Admission
from serve.errors import Overloaded


class Clock:
    """Stands still until it is told."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def fill(admission: Admission) -> int:
    """Let in as many as there is room for."""
    count = 0
    try:
        while True:
            admission.enter()
            count += 1
    except Overloaded:
        return count


def test_without_a_target_the_limit_stays(clock: Clock) -> None:
    admission = Admission(3)
    assert fill(admission) == 3
    with pytest.raises(Overloaded, match="3 requests are being answered"):
        admission.enter()
    admission.leave(1000.0)
    assert (fill(admission), admission.limit) == (1, 3)


def test_late_answers_lower_it_once_in_their_time(clock: Clock) -> None:
    admission = Admission(100, target_s=1.0)
    assert fill(admission) == 100
    for _ in range(10):
        admission.leave(2.0)
    assert admission.limit == 80
    clock.now += 1.0
    admission.leave(2.0)
    assert admission.limit == 64
    for _ in range(100):
        clock.now += 1.0
        fill(admission)
        admission.leave(2.0)
    assert admission.limit == LEAST


def test_it_falls_from_those_who_were_there(clock: Clock) -> None:
    admission = Admission(512, target_s=1.0)
    for _ in range(10):
        admission.enter()
    admission.leave(2.0)
    assert admission.limit == 8


def test_punctual_answers_raise_it_by_one_in_the_time_of_all(clock: Clock) -> None:
    admission = Admission(100, target_s=1.0)
    fill(admission)
    admission.leave(2.0)
    for _ in range(90):
        admission.leave(0.1)
    lowered = admission.limit
    for _ in range(lowered + 1):
        fill(admission)
        admission.leave(0.1)
    assert admission.limit in (lowered + 1, lowered + 2)
    for _ in range(50_000):
        fill(admission)
        admission.leave(0.1)
    assert admission.limit == 100


def test_a_limit_that_nobody_reaches_does_not_grow(clock: Clock) -> None:
    admission = Admission(100, target_s=1.0)
    fill(admission)
    admission.leave(2.0)
    while admission._inside:
        admission.leave(1.0)
    lowered = admission._limit
    for _ in range(1000):
        admission.enter()
        admission.leave(0.1)
    assert admission._limit == lowered


def test_a_request_leaves_when_its_block_ends(clock: Clock) -> None:
    admission = Admission(1, target_s=1.0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), admission.enter():
            raise ZeroDivisionError
    assert fill(admission) == 1
