"""The metrics page."""

import pytest

from serve.metrics import Metrics
from serve.servable import Servable

pytestmark = pytest.mark.tf


def test_counts_requests_rows_and_loaded_versions(tiny: Servable) -> None:
    metrics = Metrics()
    metrics.count_request("/v1/models", 200, 0.002)
    metrics.count_rows(tiny, 7, 0.001)
    page = metrics.render([tiny]).decode()
    assert 'millrace_requests_total{route="/v1/models",status="200"} 1.0' in page
    assert 'millrace_request_seconds_bucket{le="0.0025",route="/v1/models"} 1.0' in page
    assert 'millrace_rows_total{model="tiny",version="2"} 7.0' in page
    assert f'millrace_model_loaded{{digest="{tiny.origin.digest}",model="tiny",version="2"}} 1.0' in page
    assert "millrace_model_loaded{" not in metrics.render([]).decode()


def test_each_application_counts_for_itself() -> None:
    first, second = Metrics(), Metrics()
    first.count_request("/x", 200, 0.1)
    assert b"millrace_requests_total{" not in second.render([])
