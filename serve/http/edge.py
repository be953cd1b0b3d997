"""What stands before the routes: body limits, one shape of every error, and the count of requests."""

import asyncio
import logging
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millrace.errors import MillraceError
from millrace.logs import CONTEXT
from serve.errors import (
    BodyTooLarge,
    EncodingRefused,
    InvalidRequest,
    Overloaded,
    Unimplemented,
    forget_stack,
    message_of,
    status_of,
)
from serve.http.connections import WHOLE_RESPONSE
from serve.monitoring.correlation import HEADER, context_of
from serve.monitoring.metrics import Metrics
from serve.values.document import dump_json

logger = logging.getLogger(__name__)

ENCODINGS: Final = {"identity": None, "": None, "gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
"""How zlib undoes each Content-Encoding; deflate is a zlib stream (RFC 9110, 8.4.1.2)."""
MAX_STREAMS: Final = 16
"""Members of a gzip body; each costs a copy of what follows it."""
CLOSE: Final = (b"connection", b"close")
CLIENT_GONE: Final = 499
"""Counted, never sent: the client left before its answer."""


class JsonResponse(Response):
    """A response of JSON bytes; its headers are written at once, Starlette's own way takes longer than most codecs."""

    def __init__(self, body: bytes, status: int = 200) -> None:
        self.body = body
        self.status_code = status
        self.background = None
        self.raw_headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]


def json_response(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A response of JSON bytes that a codec wrote."""
    response = JsonResponse(body, status)
    if headers:
        response.raw_headers += [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return response


def error_response(message: str, status: int, headers: dict[str, str] | None = None) -> Response:
    """The one shape of every error."""
    return json_response(dump_json({"error": message}), status, headers)


async def answer_error(_: Request, error: Exception) -> Response:
    """Answer a known error by the table in `serve.errors`."""
    status = status_of(error)
    if status >= 500 and not isinstance(error, Unimplemented):  # noqa: PLR2004 - what HTTP calls the server's fault
        logger.error("answered %d: %s", status, error, exc_info=error)
    # What is left of a refused body must not be read as the next request.
    headers = {"Connection": "close"} if isinstance(error, BodyTooLarge | EncodingRefused) else None
    if isinstance(error, Overloaded):
        headers = {"Retry-After": str(error.retry_after_s)}
    return error_response(message_of(error), status, headers)


async def answer_http_error(request: Request, error: Exception) -> Response:
    """Answer the router's own errors: no such path, no such method."""
    if not isinstance(error, HTTPException):
        raise error
    said = {
        404: "there is nothing at this path; GET /docs lists what is",
        405: "this path has other methods",
    }
    headers = dict(error.headers) if error.headers else None
    if headers and (allowed := headers.get("allow", headers.get("Allow"))):
        listed = ", ".join(sorted(allowed.split(", ")))
        said[405] = f"{request.method} is not for this path, which takes {listed}"
    return error_response(said.get(error.status_code, str(error.detail)), error.status_code, headers)


def header_of(request: Request, name: bytes) -> str | None:
    """A header's value, if it is there; Starlette would decode the names of all the others too.

    Args:
        request: Whose.
        name: In lower case.
    """
    for key, value in request.scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return None


async def read_body(request: Request, limit: int) -> bytes:
    """The body, decompressed, whatever its Content-Type says.

    Raises:
        BodyTooLarge: By its Content-Length before a byte is read, else at the first byte over the limit, which counts
            once more for what it is decompressed to.
        EncodingRefused: It is compressed in another way than gzip and deflate.
        InvalidRequest: Content-Length is no number, or the body is not compressed as it says.
    """
    encoding = (header_of(request, b"content-encoding") or "identity").lower()
    if encoding not in ENCODINGS:
        raise EncodingRefused(encoding)
    declared = header_of(request, b"content-length") or "0"
    if not (declared.isascii() and declared.isdigit()) or len(declared) > 18:  # noqa: PLR2004 - digits of an int64
        raise InvalidRequest("Content-Length is not a number of bytes")
    if int(declared) > limit:
        raise BodyTooLarge(limit)
    body = await _receive(request, limit)
    bits = ENCODINGS[encoding]
    if bits is None:
        return body
    # Off the event loop: a small body may be a large one.
    return await asyncio.to_thread(decompress, body, bits, limit)


async def _receive(request: Request, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise BodyTooLarge(limit)
        if not message.get("more_body"):
            return b"".join((*parts, part)) if parts else part
        parts.append(part)


def decompress(body: bytes, bits: int, limit: int) -> bytes:
    """Undo a compression, never beyond a size.

    Args:
        body: One stream of deflate, or a few of gzip.
        bits: zlib's ``wbits``, which says of what kind.
        limit: In bytes.

    Raises:
        BodyTooLarge: There would be more.
        InvalidRequest: It is damaged or cut off.
    """
    made = bytearray()
    for _ in range(MAX_STREAMS if bits > zlib.MAX_WBITS else 1):
        stream = zlib.decompressobj(bits)
        try:
            made += stream.decompress(body, limit + 1 - len(made))
        except zlib.error as error:
            raise InvalidRequest("the body is not compressed as Content-Encoding says") from error
        if len(made) > limit:
            raise BodyTooLarge(limit)
        if not stream.eof:
            raise InvalidRequest("the compressed body is cut off")
        body = stream.unused_data
        if not body:
            return bytes(made)
    raise InvalidRequest("the compressed body has more parts than are taken")


Find = Callable[[str, str], tuple[Route, Mapping[str, Any]] | None]
"""The route for a method and a path, and the parameters in the path."""


class Edge:
    """Outermost layer: finds the route, counts every request, and answers what nothing else caught.

    Args:
        app: Answers what has no route here.
        find: The routes.
        metrics: Where requests are counted.
        is_draining: Whether clients should connect elsewhere from now on.
        logs_requests: Whether each request is one line of the log.
    """

    def __init__(
        self,
        app: ASGIApp,
        find: Find,
        metrics: Metrics,
        is_draining: Callable[[], bool] = lambda: False,
        *,
        logs_requests: bool = False,
    ) -> None:
        self._logs_requests = logs_requests
        self._app = app
        self._find = find
        self._metrics = metrics
        self._is_draining = is_draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        context = context_of(scope["headers"])
        CONTEXT.set({**(CONTEXT.get() or {}), **context})
        reply = _Reply(scope, receive, send, [(HEADER, context["request_id"].encode())], self._is_draining)
        try:
            found = None if scope.get("root_path") else self._find(scope["method"], scope["path"])
            if found is None:
                await self._app(scope, receive, reply.send)
            else:
                scope["route"], scope["path_params"] = found
                await reply.send_whole(await _response_of(found[0], Request(scope, receive)))
        except (ClientDisconnect, asyncio.CancelledError):
            reply.status = CLIENT_GONE  # a request is cancelled when its connection is lost
        except Exception as error:  # the edge: a bug must not reach the client, nor end the server
            logger.error("a bug while answering %s", _route(scope), exc_info=error)
            forget_stack(error)
            if not reply.status:
                await reply.send_whole(error_response(message_of(error), 500))
        finally:
            seconds, status = time.perf_counter() - started, reply.status or 500
            self._metrics.count_request(_route(scope), status, seconds)
            if self._logs_requests:
                logger.info("%s %s %d in %.1f ms", scope["method"], _route(scope), status, 1000 * seconds)


@dataclass
class _Reply:
    """The answer to a request, on its way; notes its status, and adds the headers that every answer has."""

    scope: Scope
    receive: Receive
    sender: Send
    headers: list[tuple[bytes, bytes]]
    is_draining: Callable[[], bool]
    status: int = 0

    def _more(self) -> list[tuple[bytes, bytes]]:
        return [*self.headers, CLOSE] if self.is_draining() else self.headers

    async def send(self, message: Message) -> None:
        """Pass a message of an application on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self._more()]
        await self.sender(message)

    async def send_whole(self, response: Response) -> None:
        """Send an answer, by one write where the connection can do that."""
        at_once = self.scope.get("extensions", {}).get(WHOLE_RESPONSE)
        if at_once is None:
            await response(self.scope, self.receive, self.send)
            return
        self.status = response.status_code
        await at_once(response.status_code, [*response.raw_headers, *self._more()], response.body)


async def _response_of(route: Route, request: Request) -> Response:
    try:
        response: Response = await route.endpoint(request)
    except MillraceError as error:
        response = await answer_error(request, error)
        forget_stack(error)
    return response


def _route(scope: Scope) -> str:
    route: Any = scope.get("route")
    return getattr(route, "path_format", "unmatched")


HANDLERS: dict[Any, Any] = {MillraceError: answer_error, HTTPException: answer_http_error}
"""Exception handlers of the application."""
