"""The limits before a prediction is computed: on bodies that arrive, that are decompressed, and on requests."""

import contextlib
import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from millrace.config.sections.serve import Serve
from serve.http import requests
from serve.servables.manager import ServableManager
from serve.server.app import Application
from tests.serve.client import ask, error_of, listening
from tests.serve.models import ROW
from tests.serve.routes.test_v2 import row_inputs

pytestmark = pytest.mark.tf

V1, V2 = "/v1/models/tiny:predict", "/v2/models/tiny/infer"
CONTROL = ("/v2/repository/index", "/v2/repository/models/tiny/load", "/v2/repository/models/tiny/unload")


@pytest.fixture
def app(manager: ServableManager) -> Application:
    """A server with room for two requests."""
    return Application(manager, Serve(max_requests=2, model_control=True))


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextlib.contextmanager
def begun(address: str, path: str) -> Iterator[socket.socket]:
    """A request of whose body one byte has arrived."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{"
        connection.sendall(head.encode())
        yield connection


@pytest.mark.case("B21")
@pytest.mark.parametrize("path", [V1, V2, *CONTROL])
def test_bodies_that_arrive_have_a_limit(app: Application, path: str) -> None:
    with listening(app) as address, begun(address, path), begun(address, path):
        wait_for(lambda: app.service.admission.arriving.count == 2)
        with begun(address, path) as third:
            assert third.recv(100).startswith(b"HTTP/1.1 429")


@pytest.mark.case("B21")
@pytest.mark.parametrize("path", [V1, "/V1/models/tiny:predict", "/v1/models/tiny:classify", V2])
def test_a_request_that_would_be_refused_is_refused_before_its_body(app: Application, path: str) -> None:
    servable = app.service.manager.get("tiny")
    with app.service.admitted(servable), app.service.admitted(servable):
        with listening(app) as address, begun(address, path) as connection:
            assert connection.recv(100).startswith(b"HTTP/1.1 429")


@pytest.mark.case("B21")
@pytest.mark.parametrize("path", [V1, V2])
def test_bodies_that_are_decompressed_have_a_limit(
    app: Application, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A small body may become a large one; and other requests do not wait for it."""
    goes_on, plain = threading.Event(), requests.decompress

    def slow(body: bytes, bits: int, limit: int) -> bytes:
        goes_on.wait(10)
        return plain(body, bits, limit)

    monkeypatch.setattr(requests, "decompress", slow)
    document = {"instances": [ROW]} if path == V1 else {"inputs": row_inputs(ROW)}
    body = json.dumps(document).encode()
    packed = {"content": gzip.compress(body), "headers": {"Content-Encoding": "gzip"}}
    with (
        listening(app) as address,
        ThreadPoolExecutor(2) as pool,
        httpx.Client(base_url=f"http://{address}", timeout=10) as client,
    ):
        waiting = [pool.submit(httpx.post, f"http://{address}{path}", **packed, timeout=20) for _ in range(2)]
        try:
            wait_for(lambda: app.service.admission.unpacking.count == 2)
            assert client.post(path, **packed).status_code == 429
            assert client.post(path, content=body).status_code == 200
            assert client.get("/metrics").status_code == 200
        finally:
            goes_on.set()
        assert [one.result().status_code for one in waiting] == [200, 200]
    assert app.service.admission.unpacking.count == 0


@pytest.mark.parametrize("path", CONTROL)
def test_a_body_that_is_no_prediction_is_small(app: Application, path: str) -> None:
    large = b'{"ready": true, "more": "' + b"x" * 20_000 + b'"}'
    assert "16384" in error_of(ask(app, "POST", path, content=large), 413)
    packed = gzip.compress(large)
    assert "16384" in error_of(ask(app, "POST", path, content=packed, headers={"Content-Encoding": "gzip"}), 413)
