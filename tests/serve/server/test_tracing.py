"""Spans of requests, as a collector receives them."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from millrace.config.sections.serve import Serve
from millrace.errors import ConfigError
from millrace.storage import Store
from serve.servables.manager import ServableManager
from serve.server.app import Application
from serve.server.server import run
from serve.server.tracing import EXPORTER, tracing
from tests.serve.client import ask, listening
from tests.serve.models import POISON, ROW
from tests.serve.products import product_of

pytestmark = pytest.mark.tf

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Takes OTLP over HTTP."""

    def __init__(self) -> None:
        self.received: list[ExportTraceServiceRequest] = []
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                request = ExportTraceServiceRequest()
                request.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
                received.append(request)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def spans(self) -> list[tuple[Any, dict[str, Any]]]:
        """Each span, and its attributes."""
        found = [
            s for r in self.received for group in r.resource_spans for part in group.scope_spans for s in part.spans
        ]
        return [(s, {a.key: a.value.string_value or a.value.int_value for a in s.attributes}) for s in found]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server.server_port}")
    try:
        yield collector
    finally:
        collector.close()


def test_each_request_is_a_span(manager: ServableManager, collector: Collector) -> None:
    settings = Serve(port=0)
    with tracing(Application(manager, settings), is_wanted=True) as app, listening(app, settings) as address:
        url = f"http://{address}"
        with httpx.Client() as client:
            parent = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
            path = "/v1/models/tiny/versions/2:predict"
            assert client.post(url + path, json={"instances": [ROW]}, headers=parent).status_code == 200
            assert client.post(url + path, json={"instances": [{**ROW, "amount": POISON}]}).status_code == 400
            assert client.get(url + "/openapi.json").status_code == 200
            assert client.get(url + "/v2/health/ready").status_code == 200
    (good, told), (bad, told_bad), (page, _) = collector.spans()
    assert good.name == "POST /v1/models/{name}/versions/{version}:predict"
    assert (good.trace_id.hex(), good.parent_span_id.hex()) == (TRACE, PARENT)
    assert told == {
        "http.request.method": "POST",
        "url.path": path,
        "http.route": "/v1/models/{name}/versions/{version}:predict",
        "http.response.status_code": 200,
        "millrace.model.name": "tiny",
        "millrace.model.version": "2",
    }
    assert bad.trace_id.hex() != TRACE
    assert told_bad["http.response.status_code"] == 400
    assert (bad.status.code, page.status.code) == (0, 0), "a client's mistake is not the server's"
    resource = collector.received[0].resource_spans[0].resource.attributes
    assert {a.key: a.value.string_value for a in resource}["service.name"] == "millrace"


def test_a_failure_of_the_server_is_an_error(
    manager: ServableManager, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: Any) -> None:
        raise ZeroDivisionError

    with tracing(Application(manager, Serve()), is_wanted=True) as app:
        monkeypatch.setattr(manager, "use", bug)
        assert ask(app, "POST", "/v1/models/tiny:predict", content=b"{}").status_code == 500
    ((span, told),) = collector.spans()
    assert (span.status.code, told["http.response.status_code"]) == (2, 500)


def test_log_lines_carry_the_span(manager: ServableManager, collector: Collector) -> None:
    from millrace.logs import CONTEXT

    seen: list[dict[str, str]] = []
    inner = Application(manager, Serve())

    async def note(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope, receive, send)
        seen.append(dict(CONTEXT.get() or {}))

    with tracing(note, is_wanted=True) as app:
        ask(app, "GET", "/v1/models")
    ((span, _),) = collector.spans()
    assert (seen[0]["trace_id"], seen[0]["parent_id"]) == (span.trace_id.hex(), span.span_id.hex())


def test_a_collector_that_is_away_costs_no_answer(
    manager: ServableManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with tracing(Application(manager, Serve()), is_wanted=True) as app:
            assert ask(app, "GET", "/v1/models").status_code == 200
            started = time.monotonic()
        assert time.monotonic() - started < 20


def test_not_wanted_and_not_there(manager: ServableManager, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain = Application(manager, Serve())
    with tracing(plain, is_wanted=False) as app:
        assert app is plain
    monkeypatch.setitem(sys.modules, EXPORTER, None)
    with pytest.raises(ConfigError, match="OpenTelemetry is not installed") as caught:
        run(product_of("tiny", serve={"tracing": "otlp", "port": 0}), Store(str(tmp_path)))
    assert "millrace[otel]" in caught.value.hint
