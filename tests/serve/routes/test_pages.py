"""What belongs to no protocol."""

import pytest

from serve.server.app import Application
from tests.serve.client import ask

pytestmark = pytest.mark.tf


def test_pages(app: Application) -> None:
    assert ask(app, "GET", "/").json() == {"status": "alive"}
    assert "<html" in ask(app, "GET", "/docs").text
    for path in ("/metrics", "/monitoring/prometheus/metrics"):
        page = ask(app, "GET", path)
        assert page.headers["content-type"].startswith("text/plain; version=")
        assert 'millrace_model_loaded{digest="' in page.text
