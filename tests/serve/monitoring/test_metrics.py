"""The metrics page."""

import json
import re
from pathlib import Path

import pytest

from serve.monitoring.metrics import Metrics
from serve.servables.servable import Servable
from serve.servables.statistics import Statistics

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.tf


def test_counts_requests_and_what_loaded_versions_did(tiny: Servable) -> None:
    metrics = Metrics()
    statistics = tiny.statistics = Statistics()
    metrics.count_request("/v1/models", 200, 0.002)
    statistics.batch_rows.add(7)
    statistics.compute.add(0.003)
    statistics.failed.add(0.2)
    statistics.outside["amount", "contract"] += 3
    tiny.restarts = 2
    page = metrics.render([(tiny, 5)], {"tiny": True, "kinds": False}, [("kinds", 7)]).decode()
    tiny.restarts = 0
    mine = 'model="tiny",'
    assert 'millrace_requests_total{route="/v1/models",status="200"} 1.0' in page
    assert 'millrace_request_seconds_bucket{le="0.0025",route="/v1/models"} 1.0' in page
    assert f'millrace_batch_rows_bucket{{le="8.0",{mine}version="2"}} 1.0' in page
    assert f'millrace_batch_rows_sum{{{mine}version="2"}} 7.0' in page
    assert f'millrace_phase_seconds_bucket{{le="0.0025",{mine}phase="compute",version="2"}} 0.0' in page
    assert f'millrace_phase_seconds_bucket{{le="0.005",{mine}phase="compute",version="2"}} 1.0' in page
    assert f'millrace_infer_seconds_count{{{mine}outcome="failed",version="2"}} 1.0' in page
    assert f'millrace_queued_rows{{{mine}version="2"}} 5.0' in page
    assert f'millrace_model_loaded{{digest="{tiny.origin.digest}",{mine}version="2"}} 1.0' in page
    assert f'millrace_model_restarts_total{{{mine}version="2"}} 2.0' in page
    outside = f'millrace_outside_domain_values_total{{domain="contract",input="amount",{mine}version="2"}} 3.0'
    assert outside in page
    assert 'millrace_model_ready{model="tiny"} 1.0\n' in page
    assert 'millrace_model_ready{model="kinds"} 0.0\n' in page
    assert 'millrace_version_failed{model="kinds",version="7"} 1.0\n' in page
    assert "millrace_model_loaded{" not in metrics.render([]).decode()


def test_each_application_counts_for_itself() -> None:
    first, second = Metrics(), Metrics()
    first.count_request("/x", 200, 0.1)
    assert b"millrace_requests_total{" not in second.render([])


def test_the_dashboard_asks_for_what_is_there(tiny: Servable) -> None:
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "serving.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [v["query"]["query"] for v in dashboard["templating"]["list"] if isinstance(v["query"], dict)]
    metrics = Metrics()
    metrics.count_request("/v1/models", 200, 0.1)
    metrics.count_reload("tiny", "loaded")
    tiny.statistics.outside["amount", "training"] += 1
    page = metrics.render([(tiny, 0)]).decode()
    there = {name for name, _ in re.findall(r"^(millrace_\w+)([{ ])", page, re.MULTILINE)}
    wanted = {name for expression in asked for name in re.findall(r"millrace_\w+", expression)}
    assert wanted <= there
    # Nothing that is counted goes unseen, but when something was made.
    parts = re.compile("_(bucket|count|sum|created|total)$")
    assert {parts.sub("", name) for name in there} == {parts.sub("", name) for name in wanted}
