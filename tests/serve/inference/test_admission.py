"""Who is let in."""

import contextlib

import pytest

from serve.errors import Overloaded
from serve.inference import admission as module
from serve.inference.admission import ALWAYS_ACCEPTED, Admission, Admitted, ServiceRate


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


def fill(admission: Admission, rate: ServiceRate, target_s: float | None = None) -> list[Admitted]:
    """Let in as many as there is room for."""
    accepted = []
    try:
        while True:
            accepted.append(admission.enter(rate, target_s))
    except Overloaded:
        return accepted


def answer(admitted: Admitted) -> None:
    with admitted:
        pass


def learn(
    clock: Clock, admission: Admission, rate: ServiceRate, target_s: float, each_s: float, count: int = 200
) -> None:
    """Answer some requests, one after the other."""
    for _ in range(count):
        admitted = admission.enter(rate, target_s)
        clock.now += each_s
        answer(admitted)


def test_without_a_target_the_limit_counts(clock: Clock) -> None:
    admission, one, other = Admission(3), ServiceRate(), ServiceRate()
    first = admission.enter(one)
    assert len(fill(admission, other)) == 2
    with pytest.raises(Overloaded, match="3 requests are being answered"):
        admission.enter(one)
    clock.now += 1000
    answer(first)
    assert len(fill(admission, one)) == 1


def test_as_many_as_are_answered_in_time(clock: Clock) -> None:
    admission, rate = Admission(512), ServiceRate()
    learn(clock, admission, rate, 1.0, each_s=0.1)
    inside = fill(admission, rate, 1.0)
    assert len(inside) == 10
    with pytest.raises(Overloaded, match=r"an answer would take 1\.1 s"):
        admission.enter(rate, 1.0)
    for admitted in inside:
        clock.now += 0.1
        answer(admitted)
    assert len(fill(admission, rate, 1.0)) == 10, "the time in which nobody was in says nothing"


def test_a_faster_pace_lets_more_in(clock: Clock) -> None:
    admission, rate = Admission(512), ServiceRate()
    learn(clock, admission, rate, 1.0, each_s=0.1)
    learn(clock, admission, rate, 1.0, each_s=0.01, count=500)
    assert len(fill(admission, rate, 1.0)) == pytest.approx(100, rel=0.02)


def test_a_batch_leaves_at_once(clock: Clock) -> None:
    admission, rate = Admission(512), ServiceRate()
    for _ in range(50):
        batch = [admission.enter(rate, 1.0) for _ in range(20)]
        clock.now += 0.2
        for admitted in batch:
            answer(admitted)
    assert len(fill(admission, rate, 1.0)) == pytest.approx(100, rel=0.15)


def test_one_that_stands_still_is_noticed_before_it_answers(clock: Clock) -> None:
    admission, rate = Admission(512), ServiceRate()
    learn(clock, admission, rate, 1.0, each_s=0.001)
    for _ in range(ALWAYS_ACCEPTED):
        admission.enter(rate, 1.0)
    clock.now += 3
    with pytest.raises(Overloaded, match="an answer would take"):
        admission.enter(rate, 1.0)


def test_a_few_are_always_let_in_and_all_before_anything_is_known(clock: Clock) -> None:
    admission, rate = Admission(512), ServiceRate()
    assert len(fill(admission, rate, 0.1)) == 512
    admission, rate = Admission(512), ServiceRate()
    learn(clock, admission, rate, 0.1, each_s=5.0)
    assert len(fill(admission, rate, 0.1)) == ALWAYS_ACCEPTED


def test_models_do_not_wait_for_each_other(clock: Clock) -> None:
    admission, slow, fast = Admission(512), ServiceRate(), ServiceRate()
    learn(clock, admission, slow, 1.0, each_s=1.0)
    learn(clock, admission, fast, 1.0, each_s=0.01)
    assert len(fill(admission, slow, 1.0)) == ALWAYS_ACCEPTED
    assert len(fill(admission, fast, 1.0)) == pytest.approx(100, rel=0.02)


def test_a_request_leaves_when_its_block_ends(clock: Clock) -> None:
    for target_s in (None, 1.0):
        admission, rate = Admission(1), ServiceRate()
        for _ in range(3):
            with pytest.raises(ZeroDivisionError), admission.enter(rate, target_s):
                clock.now += 0.1
                raise ZeroDivisionError
        assert (admission.inside, rate.inside) == (0, 0)


def fail(admitted: Admitted) -> None:
    with contextlib.suppress(ZeroDivisionError), admitted:
        raise ZeroDivisionError


@pytest.mark.case("B21")
def test_failures_do_not_make_the_pace_look_fast(clock: Clock) -> None:
    admission, rate = Admission(512), ServiceRate()
    for _ in range(100):
        admitted = admission.enter(rate, 1.0)
        for _ in range(50):  # refused at once, while the model works
            clock.now += 0.002
            fail(admission.enter(rate, 1.0))
        answer(admitted)
    assert len(fill(admission, rate, 1.0)) == 10, "an answer takes 0.1 s"


@pytest.mark.case("B21")
def test_failures_deny_nothing_to_others(clock: Clock) -> None:
    admission, rate = Admission(512), ServiceRate()
    learn(clock, admission, rate, 1.0, each_s=0.01)
    first, second = admission.enter(rate, 1.0), admission.enter(rate, 1.0)
    for _ in range(3000):  # for 30 s there are only bad requests, and never none
        clock.now += 0.01
        fail(first)
        first, second = second, admission.enter(rate, 1.0)
    learn(clock, admission, rate, 1.0, each_s=0.01, count=1)
    assert len(fill(admission, rate, 1.0)) == pytest.approx(98, rel=0.05)


@pytest.mark.case("B21")
def test_bodies_that_are_arriving_have_a_limit_of_their_own(clock: Clock) -> None:
    admission, rate = Admission(2), ServiceRate()
    with admission.arriving.enter(), admission.arriving.enter():
        with pytest.raises(Overloaded, match="2 bodies are being received"), admission.arriving.enter():
            pytest.fail("a third was let in")
        assert len(fill(admission, rate, 0.1)) == 2
    assert admission.arriving.count == 0
