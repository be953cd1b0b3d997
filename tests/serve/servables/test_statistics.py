"""Counting in plain numbers."""

from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from serve.servables.statistics import Distribution, Statistics


@given(st.lists(st.floats(0, 100)))
def test_every_value_is_in_its_bucket_and_those_above(values: list[float]) -> None:
    counted = Distribution((0.5, 1.0, 10.0))
    counted.add(*values)
    assert counted.count == len(values)
    assert counted.buckets() == [
        ("0.5", sum(v <= 0.5 for v in values)),
        ("1.0", sum(v <= 1 for v in values)),
        ("10.0", sum(v <= 10 for v in values)),
        ("+Inf", len(values)),
    ]


def test_nothing_is_lost_between_threads() -> None:
    counted = Distribution((1.0,))
    with ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            pool.submit(lambda: [counted.add(0.5, 2.0) for _ in range(2_000)])
    assert counted.buckets() == [("1.0", 16_000), ("+Inf", 32_000)]
    assert counted.total == 40_000


def test_sizes_in_use_are_those_of_the_buckets() -> None:
    counted = Statistics()
    counted.batch_rows.add(1, 33, 64, 10**6)
    assert counted.sizes() == [1, 64]


def test_phases_stand_in_a_requests_order() -> None:
    assert list(Statistics().phases) == ["decode", "queue", "compute", "encode"]
