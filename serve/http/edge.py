"""The outermost layer of the application: calls the route, turns errors into responses, and counts requests."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millrace.errors import MillraceError, Unavailable
from millrace.logs import CONTEXT
from serve.errors import (
    BodyTooLarge,
    EncodingRefused,
    InferenceFailed,
    ModelNotReady,
    Overloaded,
    Unimplemented,
    message_of,
    status_of,
)
from serve.garbage import forget_stack
from serve.http.cors import CrossOrigin
from serve.http.responses import WHOLE_RESPONSE, Reply, error_response
from serve.monitoring.correlation import HEADER, context_of
from serve.monitoring.metrics import Metrics

logger = logging.getLogger(__name__)

CLOSE: Final = (b"connection", b"close")
CLIENT_GONE: Final = 499
"""Counted, never sent: the client closed the connection before the response."""

Find = Callable[[str, str], tuple[Route, Mapping[str, Any]] | None]
"""Returns the route for a method and a path, and the parameters in the path."""


async def answer_error(_: Request, error: Exception) -> Reply:
    """The response for a known error, by the table in `serve.errors`."""
    status = status_of(error)
    if isinstance(error, ModelNotReady):
        logger.debug("answered %d: %s", status, error)  # the log says it once per model, not once per request
    elif isinstance(error, Unavailable) and not isinstance(error, InferenceFailed):
        logger.warning("answered %d: %s", status, error)
    elif status >= 500 and not isinstance(error, Unimplemented):  # noqa: PLR2004 - a server error in HTTP
        logger.error("answered %d: %s", status, error, exc_info=error)
    # The rest of a body that was not read must not be parsed as the next request.
    headers = {"Connection": "close"} if isinstance(error, BodyTooLarge | EncodingRefused) else None
    if isinstance(error, Overloaded):
        headers = {"Retry-After": str(error.retry_after_s)}
    return error_response(message_of(error), status, headers)


async def answer_http_error(request: Request, error: Exception) -> Reply:
    """The response for the router's own errors: unknown path, wrong method."""
    if not isinstance(error, HTTPException):
        raise error
    messages = {
        404: "there is nothing at this path; GET /docs lists what is",
        405: "this path has other methods",
    }
    headers = dict(error.headers) if error.headers else None
    if headers and (allowed := headers.get("allow", headers.get("Allow"))):
        listed = ", ".join(sorted(allowed.split(", ")))
        messages[405] = f"{request.method} is not for this path, which takes {listed}"
    return error_response(messages.get(error.status_code, str(error.detail)), error.status_code, headers)


class Edge:
    """The outermost layer: finds the route, counts every request, and answers errors that nothing else caught.

    Args:
        app: Answers requests without a route here.
        find: Finds the route.
        metrics: Counts the requests.
        is_draining: Whether the server is about to stop: every response then closes its connection.
        logs_requests: Whether each request is logged.
        cors: Answers the requests of other origins' pages; None if they are not allowed.
    """

    def __init__(
        self,
        app: ASGIApp,
        find: Find,
        metrics: Metrics,
        is_draining: Callable[[], bool] = lambda: False,
        *,
        logs_requests: bool = False,
        cors: CrossOrigin | None = None,
    ) -> None:
        self._cors = cors
        self._logs_requests = logs_requests
        self._app = app
        self._find = find
        self._metrics = metrics
        self._is_draining = is_draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        context = context_of(scope["headers"])
        CONTEXT.set({**(CONTEXT.get() or {}), **context})
        sender = _Sender(scope, receive, send, [(HEADER, context["request_id"].encode())], self._is_draining)
        preflight = None
        if self._cors:
            preflight = self._cors.answer_preflight(scope)
            if preflight is None:  # or its response would get the headers of actual responses, too
                sender.use(self._cors.sender(scope, send))
        try:
            if preflight:
                await preflight(scope, receive, sender.send)
                return
            found = None if scope.get("root_path") else self._find(scope["method"], scope["path"])
            if found is None:
                await self._app(scope, receive, sender.send)
            else:
                scope["route"], scope["path_params"] = found
                await sender.send_whole(await _reply_of(found[0], Request(scope, receive)))
        except (ClientDisconnect, asyncio.CancelledError):
            sender.status = CLIENT_GONE  # a request is cancelled when its connection is lost
        except Exception as error:  # a bug must not reach the client, and must not stop the server
            logger.error("a bug while answering %s", _route(scope), exc_info=error)
            forget_stack(error)
            if not sender.status:
                await sender.send_whole(error_response(message_of(error), 500))
        finally:
            seconds, status = time.perf_counter() - started, sender.status or 500
            self._metrics.count_request(_route(scope), status, seconds)
            if self._logs_requests:
                logger.info("%s %s %d in %.1f ms", scope["method"], _route(scope), status, 1000 * seconds)


@dataclass
class _Sender:
    """Sends the response of one request: keeps its status, and adds the headers that every response has."""

    scope: Scope
    receive: Receive
    sender: Send
    headers: list[tuple[bytes, bytes]]
    is_draining: Callable[[], bool]
    status: int = 0
    is_whole: bool = True
    """Whether the connection may send the response by one write."""

    def use(self, sender: Send | None) -> None:
        """Send by another function, which needs the two messages of a response."""
        if sender:
            self.sender, self.is_whole = sender, False

    def _all_headers(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        closes = self.is_draining() and CLOSE not in headers
        return [*headers, *self.headers, CLOSE] if closes else [*headers, *self.headers]

    async def send(self, message: Message) -> None:
        """Pass on a message of an ASGI application."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = self._all_headers(message["headers"])
        await self.sender(message)

    async def send_whole(self, reply: Reply) -> None:
        """Send a response, by one write if the connection offers that (`serve.http.fast_path`)."""
        respond = self.scope.get("extensions", {}).get(WHOLE_RESPONSE)
        if respond is None or not self.is_whole:
            await reply(self.scope, self.receive, self.send)
            return
        self.status = reply.status
        await respond(reply.status, self._all_headers(reply.headers), reply.body)


async def _reply_of(route: Route, request: Request) -> Reply:
    try:
        reply: Reply = await route.endpoint(request)
    except MillraceError as error:
        reply = await answer_error(request, error)
        forget_stack(error)
    return reply


def _route(scope: Scope) -> str:
    route: Any = scope.get("route")
    return getattr(route, "path_format", "unmatched")


HANDLERS: dict[Any, Any] = {MillraceError: answer_error, HTTPException: answer_http_error}
"""Exception handlers of the application."""
