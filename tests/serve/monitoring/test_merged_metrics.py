"""The counts of several workers on one page."""

import os
import re
from pathlib import Path

import pytest

from serve.monitoring.merged_metrics import SharedPages, merge
from serve.monitoring.metrics import Metrics
from serve.servables.servable import Servable
from serve.servables.statistics import Statistics

pytestmark = pytest.mark.tf


def page_of(tiny: Servable, *, requests: int, waiting: int = 0, reachable: bool = True) -> bytes:
    metrics = Metrics()
    statistics = tiny.statistics = Statistics()
    for _ in range(requests):
        metrics.count_request("/v1/models", 200, 0.002)
        statistics.batch_rows.add(7)
    metrics.set_reachable(reachable)
    return metrics.render([(tiny, waiting)], {"tiny": reachable}, [] if reachable else [("tiny", 3)])


def value(page: bytes, sample: str) -> float:
    found = re.search(rf"^{re.escape(sample)} (\S+)$", page.decode(), re.MULTILINE)
    assert found, page.decode()
    return float(found[1])


def test_counts_are_added_and_states_are_not(tiny: Servable) -> None:
    pages = [page_of(tiny, requests=2, waiting=5), page_of(tiny, requests=3, waiting=1, reachable=False)]
    joined = merge([(True, page.decode()) for page in pages])
    assert value(joined, 'millrace_requests_total{route="/v1/models",status="200"}') == 5
    assert value(joined, 'millrace_request_seconds_bucket{le="0.0025",route="/v1/models"}') == 5
    assert value(joined, 'millrace_request_seconds_bucket{le="0.001",route="/v1/models"}') == 0
    assert value(joined, 'millrace_batch_rows_sum{model="tiny",version="2"}') == 35
    assert value(joined, 'millrace_queued_rows{model="tiny",version="2"}') == 6
    loaded = f'millrace_model_loaded{{digest="{tiny.origin.digest}",model="tiny",version="2"}}'
    assert value(joined, loaded) == 1
    assert value(joined, "millrace_store_reachable") == 0


def test_one_page_stays_as_it_is(tiny: Servable) -> None:
    page = page_of(tiny, requests=2, waiting=5)
    assert set(merge([(True, page.decode())]).splitlines()) == set(page.splitlines())


def test_what_the_dead_have_counted_stays(tiny: Servable, tmp_path: Path) -> None:
    (tmp_path / "999999999.prom").write_bytes(page_of(tiny, requests=10, waiting=9))
    (tmp_path / f"{os.getppid()}.prom").write_bytes(page_of(tiny, requests=1, waiting=1))
    shared = SharedPages(tmp_path)
    shared.write(b"an older page of mine")
    joined = shared.merged(page_of(tiny, requests=100))
    assert value(joined, 'millrace_requests_total{route="/v1/models",status="200"}') == 111
    assert value(joined, 'millrace_queued_rows{model="tiny",version="2"}') == 1
    assert len(list(tmp_path.glob("*.prom"))) == 3
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.case("B24")
def test_the_pages_of_many_that_ended_become_one(tiny: Servable, tmp_path: Path) -> None:
    shared = SharedPages(tmp_path)
    for number in range(20):
        (tmp_path / f"{999_999_000 + number}.prom").write_bytes(page_of(tiny, requests=2, waiting=9))
        joined = shared.merged(page_of(tiny, requests=100))
        assert value(joined, 'millrace_requests_total{route="/v1/models",status="200"}') == 102 + 2 * number
        assert value(joined, 'millrace_queued_rows{model="tiny",version="2"}') == 0
    assert [file.name for file in tmp_path.glob("*.prom")] == ["0.prom"]
