"""Cross-origin requests: which web pages' scripts may call the service.

Starlette's middleware knows the rules. It is not a layer around the application: a preflight is a request like any
other, which is counted and gets an id.
"""

from collections.abc import Sequence
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Message, Receive, Send
from starlette.types import Scope as ASGIScope

METHODS: Final = ("GET", "POST")
EXPOSED: Final = ("X-Request-ID", "Inference-Header-Content-Length", "Retry-After")
"""Headers of a response that a script may read."""
MAX_AGE_S: Final = 600
"""How long a browser may remember the answer to a preflight."""


class CrossOrigin:
    """Answers preflights, and adds the headers of cross-origin requests to responses.

    Args:
        origins: The origins whose requests are allowed; ``*`` allows all.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._rules = CORSMiddleware(
            _nothing,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=["*"],
            expose_headers=EXPOSED,
            max_age=MAX_AGE_S,
        )

    def answer_preflight(self, scope: ASGIScope) -> Response | None:
        """The response to a preflight; None for another request."""
        if scope["method"] != "OPTIONS":
            return None
        headers = Headers(scope=scope)
        is_preflight = "origin" in headers and "access-control-request-method" in headers
        return self._rules.preflight_response(headers) if is_preflight else None

    def sender(self, scope: ASGIScope, send: Send) -> Send | None:
        """A function that sends a response with the headers that its request needs; None if it needs none."""
        if not any(name == b"origin" for name, _ in scope["headers"]):
            return None
        headers = Headers(scope=scope)

        async def send_with_headers(message: Message) -> None:
            await self._rules.send(message, send, headers)

        return send_with_headers


async def _nothing(scope: ASGIScope, receive: Receive, send: Send) -> None:
    """The application inside of the middleware, which is not called."""
