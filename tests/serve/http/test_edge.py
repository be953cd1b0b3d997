"""What stands before the routes."""

import asyncio
import gzip
import json
import logging
import re
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from millrace.logs import configure_logging
from serve.errors import BodyTooLarge, InvalidRequest
from serve.http.edge import HANDLERS, Edge
from serve.http.requests import BodyReader, decompress, timeout_of
from serve.monitoring.metrics import Metrics
from serve.routes.table import RouteTable
from tests.serve.client import ask, error_of

LIMIT = 1000


def nowhere(_method: str, _path: str) -> None:
    """There are no routes but those of the application."""


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def app(metrics: Metrics) -> Edge:
    """Routes that read, and routes that break."""

    reader = BodyReader(LIMIT)

    async def read(request: Request) -> Response:
        return Response(await reader.read(request))

    async def bug(_: Request) -> Response:
        raise RuntimeError("/secret/path and a password")

    async def gone(_: Request) -> Response:
        raise ClientDisconnect

    routes = [Route("/read", read, methods=["POST"]), Route("/bug", bug), Route("/gone", gone)]
    rest = FastAPI(exception_handlers=HANDLERS)
    rest.router.routes.extend(routes)
    return Edge(rest, RouteTable(routes).find, metrics)


async def chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 100


def test_reads_a_body_up_to_the_limit(app: Edge) -> None:
    assert ask(app, "POST", "/read", content=b"x" * LIMIT).content == b"x" * LIMIT
    assert ask(app, "POST", "/read", content=chunks(10)).content == b"x" * LIMIT
    assert ask(app, "POST", "/read").content == b""


@pytest.mark.parametrize("kind", ["text/plain", "", "multipart/form-data", "application/json; charset=latin-1", "\x7f"])
def test_any_content_type_is_read(app: Edge, kind: str) -> None:
    assert ask(app, "POST", "/read", content=b"abc", headers={"Content-Type": kind}).content == b"abc"


def test_a_declared_size_over_the_limit_is_refused_before_reading(app: Edge) -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    response = ask(app, "POST", "/read", content=never(), headers={"Content-Length": "5000000000"})
    assert error_of(response, 413) == "the body is larger than 1000 bytes"
    assert response.headers["connection"] == "close"


def test_an_endless_body_is_refused_at_the_limit(app: Edge) -> None:
    error_of(ask(app, "POST", "/read", content=chunks(11)), 413)


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "9" * 30, "\u0661"])
def test_a_content_length_that_is_no_number_is_refused(app: Edge, length: str) -> None:
    header = {"Content-Length": length.encode()}
    error_of(ask(app, "POST", "/read", content=chunks(1), headers=header), 400)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x"])
def test_other_compressions_are_refused(app: Edge, encoding: str) -> None:
    said = error_of(ask(app, "POST", "/read", content=b"x", headers={"Content-Encoding": encoding}), 415)
    assert encoding in said


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("GZIP", gzip.compress), ("x-gzip", gzip.compress)],
)
def test_compressed_bodies_are_read(app: Edge, encoding: str, compress: Callable[[bytes], bytes]) -> None:
    headers = {"Content-Encoding": encoding}
    for body in (b"", b"abc", b"x" * LIMIT):
        assert ask(app, "POST", "/read", content=compress(body), headers=headers).content == body
    twice = ask(app, "POST", "/read", content=compress(b"ab") + compress(b"cd"), headers=headers)
    if encoding == "deflate":
        assert "more parts" in error_of(twice, 400)
    else:
        assert twice.content == b"abcd"
    assert "more parts" in error_of(ask(app, "POST", "/read", content=compress(b"") * 30, headers=headers), 400)
    error_of(ask(app, "POST", "/read", content=compress(b"x" * (LIMIT + 1)), headers=headers), 413)
    assert "cut off" in error_of(ask(app, "POST", "/read", content=compress(b"abc")[:-4], headers=headers), 400)
    assert "not compressed" in error_of(ask(app, "POST", "/read", content=b"plain", headers=headers), 400)


def test_timeout_headers() -> None:
    assert timeout_of([(b"content-type", b"x"), (b"x-request-timeout-ms", b"1500")]) == 1.5
    assert timeout_of([(b"x-envoy-expected-rq-timeout-ms", b"7")]) == 0.007
    assert timeout_of([(b"x-other", b"7")]) is None


@pytest.mark.parametrize("value", [b"", b"0", b"-1", b"1.5", b"1s", b"9" * 10, "²".encode("latin-1"), b"\xff"])
def test_a_timeout_header_that_is_no_time_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidRequest, match="X-Request-Timeout-Ms: expected a whole number of milliseconds above 0"):
        timeout_of([(b"x-request-timeout-ms", value)])


def test_a_bomb_is_never_unpacked() -> None:
    bomb = zlib.compress(b"\0" * 100_000_000)
    tracemalloc.start()
    with pytest.raises(BodyTooLarge):
        decompress(bomb, zlib.MAX_WBITS, 1_000_000)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_bug_is_logged_and_answered_without_its_words(
    app: Edge, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, logger="serve"):
        message = error_of(ask(app, "GET", "/bug"), 500)
    assert "secret" not in message
    assert caplog.records[0].exc_info
    assert b'millrace_requests_total{route="/bug",status="500"} 1.0' in metrics.render([])


def test_the_router_speaks_the_same_form(app: Edge, metrics: Metrics) -> None:
    error_of(ask(app, "GET", "/nothing/here"), 404)
    assert ask(app, "PUT", "/read").headers["allow"] == "POST"
    error_of(ask(app, "PUT", "/read"), 405)
    assert b'millrace_requests_total{route="unmatched",status="404"} 1.0' in metrics.render([])


def test_a_client_that_left_is_no_bug(app: Edge, metrics: Metrics, caplog: pytest.LogCaptureFixture) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "path": "/gone", "headers": [], "query_string": b"", "root_path": ""}
    asyncio.run(app(scope, receive, send))
    assert (sent, caplog.records) == ([], [])
    assert b'status="499"' in metrics.render([])


def test_every_answer_has_its_request_id(app: Edge) -> None:
    assert ask(app, "POST", "/read", headers={"X-Request-ID": "mine"}).headers["x-request-id"] == "mine"
    given = {ask(app, "GET", path).headers["x-request-id"] for path in ("/read", "/bug", "/nothing")}
    assert len(given) == 3


def test_log_lines_tell_the_request(app: Edge, capsys: pytest.CaptureFixture[str]) -> None:
    handlers, level = logging.root.handlers[:], logging.root.level
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    try:
        configure_logging(as_json=True)
        ask(app, "GET", "/bug", headers={"X-Request-ID": "mine", "traceparent": trace})
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
    entry = json.loads(capsys.readouterr().err.splitlines()[0])
    assert entry["message"] == "a bug while answering /bug"
    assert (entry["request_id"], entry["trace_id"]) == ("mine", "0af7651916cd43dd8448eb211c80319c")


def test_each_request_is_a_line_where_that_is_wanted(metrics: Metrics, caplog: pytest.LogCaptureFixture) -> None:
    app = Edge(FastAPI(exception_handlers=HANDLERS), nowhere, metrics, logs_requests=True)
    with caplog.at_level(logging.INFO):
        ask(app, "GET", "/nothing/of/a/client's/choice")
    assert re.search(r"GET unmatched 404 in \d+\.\d ms", caplog.text)
