"""Requests to an application in this process, without a port or with one."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from starlette.types import ASGIApp

from millrace.config.sections.serve import Serve
from serve.http.uvicorn_server import Server, configure
from serve.server.server import address_of, listen


def ask(app: ASGIApp, method: str, path: str, **request: Any) -> httpx.Response:
    """One request and its answer, without a port."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **request)

    return asyncio.run(send())


def predict(app: ASGIApp, body: Any, path: str = "/v1/models/tiny:predict") -> httpx.Response:
    """A predict request; bytes are sent as they are, anything else as JSON with NaN allowed."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ask(app, "POST", path, content=content)


def error_of(response: httpx.Response, status: int) -> str:
    """The message of an error answer, whose form and size are checked."""
    assert response.status_code == status, response.text
    assert len(response.content) < 4096
    body = response.json()
    assert list(body) == ["error"]
    assert isinstance(body["error"], str)
    assert "Traceback" not in body["error"]
    return str(body["error"])


@contextmanager
def listening(app: ASGIApp, settings: Serve | None = None) -> Iterator[str]:
    """The application on a free port of the loopback address: for clients that bring their own connections."""
    settings = settings or Serve(port=0)
    listener = listen(settings)
    ready = threading.Event()
    server = Server(configure(app, settings), ready.set)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        assert ready.wait(30)
        yield address_of(listener).removeprefix("http://")
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
