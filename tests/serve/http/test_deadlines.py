"""Clients that are slow, and their neighbours."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from millrace.config.sections.serve import Serve
from serve.http.edge import HANDLERS, Edge
from serve.http.fast_path import MAX_HEAD_BYTES
from serve.http.requests import BodyReader
from serve.monitoring.metrics import Metrics
from tests.serve.client import listening

DEADLINES = Serve(port=0, head_deadline_s=0.5, body_deadline_s=0.5, write_deadline_s=0.5)
IN_TIME_S = 8
"""The deadline and the sweep after it take 1.5 s; a busy machine may take longer, uvicorn alone for ever."""
began, cancelled = threading.Event(), threading.Event()
BIG = 24 * 1024 * 1024
"""More than the kernel buffers on both sides."""


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    app = FastAPI(exception_handlers=HANDLERS)

    @app.post("/echo")
    async def echo(request: Request) -> Response:
        return Response(await BodyReader(1_000_000).read(request))

    @app.get("/wait")
    async def wait() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    @app.get("/big")
    async def big() -> Response:
        return Response(b"x" * BIG)

    with listening(Edge(app, lambda *_: None, Metrics()), DEADLINES) as found:
        host, port = found.split(":")
        yield host, int(port)


@contextlib.contextmanager
def connected(address: tuple[str, int]) -> Iterator[socket.socket]:
    with socket.create_connection(address, timeout=20) as connection:
        yield connection


def wait_until_told(caplog: pytest.LogCaptureFixture, words: str) -> None:
    """Wait for the server's log; a client that does not read sees nothing of a connection that was cut."""
    end = time.monotonic() + 20
    while words not in caplog.text and time.monotonic() < end:
        time.sleep(0.05)
    assert words in caplog.text


def read_all(connection: socket.socket) -> bytes:
    """What is sent until the connection is closed."""
    received = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1_000_000):
            received += part
    return bytes(received)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (b"POST /echo HTT", b"408 Request Timeout"),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-", b"408 Request Timeout"),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc", b"408 Request Timeout"),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"408 Request"),
    ],
)
def test_half_a_request_is_let_go(address: tuple[str, int], sent: bytes, answer: bytes) -> None:
    with connected(address) as connection:
        connection.sendall(sent)
        started = time.monotonic()
        received = read_all(connection)
        assert time.monotonic() - started < IN_TIME_S
    assert answer in received
    if answer:
        assert b'{"error":"the request' in received


def test_a_request_that_trickles_is_let_go(address: tuple[str, int]) -> None:
    started = time.monotonic()
    with connected(address) as connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(100):
            connection.sendall(b"x")
            time.sleep(0.1)
    assert time.monotonic() - started < IN_TIME_S + 1


def test_who_does_not_read_its_answer_is_let_go(address: tuple[str, int], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with connected(address) as connection:
        connection.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until_told(caplog, "does not read the response")
        assert len(read_all(connection)) < BIG


def test_a_slow_reader_that_reads_is_not(address: tuple[str, int]) -> None:
    with connected(address) as connection:
        connection.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert len(read_all(connection)) > BIG


def test_neighbours_are_answered_meanwhile(address: tuple[str, int]) -> None:
    with contextlib.ExitStack() as stack, httpx.Client() as client:
        for _ in range(200):
            stack.enter_context(connected(address)).sendall(b"POST /echo HTTP/1.1\r\nHost")
        for number in range(50):
            response = client.post(f"http://{address[0]}:{address[1]}/echo", content=str(number).encode())
            assert response.text == str(number)


def test_a_kept_connection_has_the_same_deadlines_again(address: tuple[str, int]) -> None:
    with connected(address) as connection:
        for _ in range(3):
            connection.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok")
            assert connection.recv(65_536).endswith(b"ok")
            time.sleep(0.2)
        connection.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\n")
        started = time.monotonic()
        assert b"408" in read_all(connection)
        assert time.monotonic() - started < IN_TIME_S


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n", b"400 Bad Request"),
        (b"NONSENSE\r\n\r\n", b"400 Bad Request"),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400 Bad Request"),
        (b"GET /echo HTTP/1.1\r\nX: " + b"x" * (MAX_HEAD_BYTES + 1) + b"\r\n\r\n", b"431 "),
        (b"GET /" + b"x" * (MAX_HEAD_BYTES + 1) + b" HTTP/1.1\r\n\r\n", b"431 "),
    ],
)
def test_what_is_no_request_gets_the_one_shape_of_errors(address: tuple[str, int], sent: bytes, status: bytes) -> None:
    with connected(address) as connection:
        connection.sendall(sent)
        received = read_all(connection)
    assert received.startswith(b"HTTP/1.1 " + status)
    assert b'\r\n\r\n{"error":"' in received


def test_a_header_without_an_end_is_refused(address: tuple[str, int]) -> None:
    started = time.monotonic()
    with connected(address) as connection, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        connection.sendall(b"GET /echo HTTP/1.1\r\nX: ")
        for _ in range(1000):
            connection.sendall(b"x" * 65_536)
        pytest.fail("64 MiB of a header were taken")
    assert time.monotonic() - started < IN_TIME_S


def test_a_connection_that_says_nothing_more_is_let_go(address: tuple[str, int]) -> None:
    """Neither a body that came after its answer, nor an empty line, keeps a connection for ever."""
    for sent in (b"ok", b"\r\n"):
        with connected(address) as connection:
            length = b"2" if sent == b"ok" else b"0"
            connection.sendall(b"POST /none HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + b"\r\n\r\n")
            assert b"404" in connection.recv(65_536)
            connection.sendall(sent)
            started = time.monotonic()
            assert read_all(connection) == b""
            assert time.monotonic() - started < IN_TIME_S


def test_a_reader_that_stands_still_is_let_go_whatever_else_it_sends(
    address: tuple[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with connected(address) as connection:
        connection.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok")
        wait_until_told(caplog, "does not read the response")
        assert len(read_all(connection)) < BIG


def test_an_offer_of_another_protocol_is_answered_in_this_one(address: tuple[str, int]) -> None:
    """What Java's client sends first."""
    head = (
        b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nContent-Length: 6\r\n\r\n"
    )
    for parts in ([head + b"abcdef"], [head, b"abc", b"def"], [head + b"abc", b"def"]):
        with connected(address) as connection:
            for part in parts:
                connection.sendall(part)
                time.sleep(0.05)
            received = read_all(connection)
        assert received.startswith(b"HTTP/1.1 200")
        assert received.endswith(b"abcdef")


def test_who_has_gone_is_cancelled(address: tuple[str, int]) -> None:
    with connected(address) as connection:
        connection.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        assert began.wait(20)
    assert cancelled.wait(20)
