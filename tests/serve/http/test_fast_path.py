"""`serve.fast_http`: both connection classes send the same bytes."""

import contextlib
import gzip
import re
import socket
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI

from chaos.service.corpus import all_requests, tensors
from chaos.service.wire import INFER, PREDICT, as_json, heads, http
from millrace.config.sections.serve import Serve
from serve.http.fast_path import MAX_HEAD_BYTES, FastHttpProtocol
from serve.http.uvicorn_server import configure
from serve.servables.manager import ServableManager
from serve.server.app import Application
from tests.serve.client import listening
from tests.serve.models import POISON, ROW

pytestmark = pytest.mark.tf

ID = "X-Request-ID: the-same"
LAST = http("GET", "/v2/health/live", b"", ID, "Connection: close")
Address = tuple[str, int]


@dataclass(frozen=True)
class Servers:
    fast: Address
    stock: Address


@pytest.fixture(scope="module")
def servers(manager: ServableManager) -> Iterator[Servers]:
    """A server with each class, over the same models."""
    with contextlib.ExitStack() as stack:
        addresses: list[Address] = []
        for fast in (True, False):
            settings = Serve(port=0, max_body_mb=1, fast_http=fast, head_deadline_s=0.5)
            host, port = stack.enter_context(listening(Application(manager, settings), settings)).split(":")
            addresses.append((host, int(port)))
        yield Servers(*addresses)


class Reader:
    """Reads responses of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = bytearray()

    def _receive(self) -> bool:
        with contextlib.suppress(ConnectionResetError):
            part = self._connection.recv(1_000_000)
            self._received += part
            return bool(part)
        return False

    def one(self, *, has_body: bool = True) -> bytes:
        """The next response; less of it if the server closes the connection."""
        while b"\r\n\r\n" not in self._received:
            if not self._receive():
                return self.rest()
        end = self._received.index(b"\r\n\r\n") + 4
        length = re.search(rb"\r\ncontent-length: (\d+)", self._received[:end])
        end += int(length[1]) if length and has_body else 0
        while len(self._received) < end:
            if not self._receive():
                return self.rest()
        found, self._received = bytes(self._received[:end]), self._received[end:]
        return found

    def rest(self) -> bytes:
        """All bytes until the server closes the connection."""
        while self._receive():
            pass
        found, self._received = bytes(self._received), bytearray()
        return found


def exchange(address: Address, *parts: bytes, responses: int = 1, has_body: bool = True) -> list[bytes]:
    """Send bytes, and read responses; the last one tells whether the connection was kept: it is empty if not."""
    with socket.create_connection(address, timeout=20) as connection:
        reader = Reader(connection)
        with contextlib.suppress(ConnectionError):
            for number, part in enumerate(parts):
                if number:
                    time.sleep(0.05)  # so that the server reads each part by itself
                connection.sendall(part)
        received = [reader.one(has_body=has_body) for _ in range(responses)]
        with contextlib.suppress(ConnectionError):
            connection.sendall(LAST)
        return [without_random(part) for part in (*received, reader.rest())]


def without_random(response: bytes) -> bytes:
    """A response without the date and the ids that a server makes."""
    response = re.sub(rb"\r\ndate: [^\r]*", b"", response)
    return re.sub(rb'(x-request-id: |"id":")[0-9a-f]{12}-[0-9a-f]+', rb"\1X", response)


def predict(row: dict[str, Any] | None = None, *headers: str, **more: Any) -> bytes:
    return http("POST", PREDICT, as_json({"instances": [row or ROW], **more}), ID, *headers)


def infer(*headers: str, **more: Any) -> bytes:
    return http("POST", INFER, as_json({"id": "a", "inputs": tensors(), **more}), ID, *headers)


def examples(method: str, value: Any) -> bytes:
    return http("POST", f"/v1/models/tiny:{method}", as_json({"examples": [value]}), ID)


def chunked(body: bytes) -> bytes:
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n{ID}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    half = len(body) // 2
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:], b""))


def head_only(body: bytes, *headers: str) -> bytes:
    return http("POST", PREDICT, body, ID, *headers).removesuffix(body)


BODY = as_json({"instances": [ROW]})
REPORT = {"parameters": {"on_row_error": "report"}}
BINARY = {"parameters": {"binary_data_output": True}}
LARGE = b" " * (1024 * 1024 + 1)

SAME = {
    "V1 predict": predict(),
    "V1 predict, columns": http("POST", PREDICT, as_json({"inputs": {n: [v] for n, v in ROW.items()}}), ID),
    "V1 classify": examples("classify", ROW),
    "V1 row errors": predict({**ROW, "amount": POISON}, **REPORT),
    "V1 models": http("GET", "/v1/models", b"", ID),
    "V1 status": http("GET", "/v1/models/tiny", b"", ID),
    "V1 metadata": http("GET", "/v1/models/tiny/metadata", b"", ID),
    "V1 wrong value": predict({**ROW, "amount": "x"}),
    "V1 no number": predict({**ROW, "amount": POISON}),
    "V1 wrong signature": predict(signature_name="other"),
    "V1 regress by a classifier": examples("regress", ROW),
    "V1 wrong example": examples("classify", 5),
    "V1 explain": http("POST", "/v1/models/tiny:explain", b"{}", ID),
    "V1 malformed": http("GET", PREDICT, b"", ID),
    "V2 infer": infer(),
    "V2 infer, binary": infer(**BINARY),
    "V2 row errors": infer(**REPORT),
    "V2 no inputs": http("POST", INFER, b"{}", ID),
    "V2 wrong header length": infer("Inference-Header-Content-Length: 5000"),
    "V2 server": http("GET", "/v2", b"", ID),
    "V2 model": http("GET", "/v2/models/tiny", b"", ID),
    "V2 ready": http("GET", "/v2/health/ready", b"", ID),
    "V2 index": http("POST", "/v2/repository/index", b"", ID),
    "V2 control is not allowed": http("POST", "/v2/repository/models/tiny/load", b"", ID),
    "KServe alive": http("GET", "/", b"", ID),
    "docs": http("GET", "/docs", b"", ID),
    "OpenAPI, by FastAPI": http("GET", "/openapi.json", b"", ID),
    "404": http("GET", "/nothing", b"", ID),
    "404 of a model": http("POST", "/v1/models/other:predict", BODY, ID),
    "405": http("POST", "/v2/health/live", b"", ID),
    "400 JSON": http("POST", PREDICT, b"{", ID),
    "400 timeout header": predict(None, "X-Request-Timeout-Ms: soon"),
    "413 by Content-Length": http("POST", PREDICT, LARGE, ID),
    "413 by decompression": http("POST", PREDICT, gzip.compress(LARGE), ID, "Content-Encoding: gzip"),
    "415": predict(None, "Content-Encoding: br"),
    "gzip": http("POST", PREDICT, gzip.compress(BODY), ID, "Content-Encoding: gzip"),
    "deflate": http("POST", PREDICT, zlib.compress(BODY), ID, "Content-Encoding: deflate"),
    "gzip, cut off": http("POST", PREDICT, gzip.compress(BODY)[:-4], ID, "Content-Encoding: gzip"),
    "chunked": chunked(BODY),
    "close": predict(None, "Connection: close"),
    "keep-alive": predict(None, "Connection: keep-alive"),
    "HTTP/1.0": predict().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/1.0, keep-alive": predict(None, "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "query": http("GET", "/v2/health/live?a=b", b"", ID),
    "percent": http("GET", "/v1/models/t%69ny", b"", ID),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_bytes(servers: Servers, name: str) -> None:
    received = exchange(servers.fast, SAME[name])
    assert received[0].startswith(b"HTTP/1.1 ")
    assert received == exchange(servers.stock, SAME[name])


def test_head(servers: Servers) -> None:
    for path in ("/v2/health/live", "/v1/models/tiny", "/nothing", PREDICT):
        sent = http("HEAD", path, b"", ID)
        received = exchange(servers.fast, sent, has_body=False)
        assert received == exchange(servers.stock, sent, has_body=False), path
        assert received[0].endswith(b"\r\n\r\n")


def test_pipelined_requests(servers: Servers) -> None:
    sent = [predict(), infer(), http("GET", "/nothing", b"", ID), predict({**ROW, "amount": "x"}), predict()]
    received = exchange(servers.fast, b"".join(sent), responses=5)
    assert received == exchange(servers.stock, b"".join(sent), responses=5)
    assert [part.split(b" ")[1] for part in received] == [b"200", b"200", b"404", b"400", b"200", b"200"]


def test_one_request_after_the_other(servers: Servers) -> None:
    sent = [predict(), infer(**BINARY), examples("classify", ROW)]
    received = exchange(servers.fast, *sent, responses=3)
    assert received == exchange(servers.stock, *sent, responses=3)


def test_a_request_in_pieces(servers: Servers) -> None:
    raw = predict()
    sent = [raw[:20], raw[20:60], raw[60:-10], raw[-10:]]
    received = exchange(servers.fast, *sent)
    assert received[0].startswith(b"HTTP/1.1 200")
    assert received == exchange(servers.stock, *sent)


def test_expect_100_continue(servers: Servers) -> None:
    head = head_only(BODY, "Expect: 100-continue")
    received = exchange(servers.fast, head, BODY, responses=2)
    assert received[0] == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert received == exchange(servers.stock, head, BODY, responses=2)
    refused = head_only(LARGE, "Expect: 100-continue")
    received = exchange(servers.fast, refused)
    assert received[0].startswith(b"HTTP/1.1 413")
    assert received == exchange(servers.stock, refused)


def test_requests_that_no_client_should_send(servers: Servers) -> None:
    names = {f"head: {name}" for name, _ in heads()}  # of these below
    requests = [request for request in all_requests() if request.name not in names]
    assert len(requests) > 300
    different = [r.name for r in requests if exchange(servers.fast, r.raw) != exchange(servers.stock, r.raw)]
    assert different == []


UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAA")
# Requests that uvicorn's own class answers in another way, and why: what is sent, the fast answer, uvicorn's.
EXCEPTIONS = {
    "bytes that are no HTTP: uvicorn's error is plain text": (
        b"NONSENSE\r\n\r\n",
        b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json.*x-request-id: \\S+\r\n\r\n"
        b'{"error":"the request is not valid HTTP: .*"}',
        b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain.*Invalid HTTP request received.",
    ),
    "a head over 64 KiB: uvicorn has no limit": (
        http("GET", "/v2/health/live", b"", ID, "X: " + "x" * MAX_HEAD_BYTES),
        b'HTTP/1.1 431 .*x-request-id: .*{"error":"the request\'s head is larger than 65536 bytes"}',
        b'HTTP/1.1 200 OK.*{"live":true}',
    ),
    "an offer of HTTP/2 without a body: uvicorn keeps the connection": (
        http("GET", "/v2/health/live", b"", ID, *UPGRADE),
        b'HTTP/1.1 200 OK.*connection: close\r\n\r\n{"live":true}',
        b'HTTP/1.1 200 OK.*x-request-id: the-same\r\n\r\n{"live":true}',
    ),
    "an offer of HTTP/2 with a body: uvicorn does not read the body": (
        http("POST", PREDICT, BODY, ID, *UPGRADE),
        b'HTTP/1.1 200 OK.*{"predictions":.*',
        b"HTTP/1.1 400 Bad Request.*The document is empty.*",
    ),
}


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_exceptions(servers: Servers, name: str) -> None:
    sent, fast, stock = EXCEPTIONS[name]
    assert re.fullmatch(fast, exchange(servers.fast, sent)[0], re.DOTALL)
    assert re.fullmatch(stock, exchange(servers.stock, sent)[0], re.DOTALL)


def test_heads_that_no_client_should_send(servers: Servers) -> None:
    """The same status, except for the limit on the head."""
    large = {"a header of a megabyte", "a path of a megabyte"}
    for name, raw in heads():
        fast, stock = (exchange(address, raw)[0].split(b" ")[1:2] for address in (servers.fast, servers.stock))
        if name in large:
            assert fast in ([b"431"], []), name  # the server may close the connection before all is sent
        else:
            assert fast == stock, name


def test_only_the_fast_class_has_deadlines(servers: Servers) -> None:
    for address, answer in ((servers.fast, b"408"), (servers.stock, b"")):
        with socket.create_connection(address, timeout=20) as connection:
            connection.sendall(b"POST /v1")
            connection.settimeout(20 if answer else 3)
            try:
                received = connection.recv(1000)
            except TimeoutError:
                received = b""
            assert answer in received
            assert bool(answer) == bool(received)


def test_the_switch_chooses_the_class() -> None:
    fast, stock = (configure(FastAPI(), Serve(fast_http=fast)) for fast in (True, False))
    assert issubclass(fast.http, FastHttpProtocol)  # type: ignore[arg-type]
    assert stock.http == "httptools"
