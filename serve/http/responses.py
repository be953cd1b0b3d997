"""Responses: JSON bytes with their headers, and the one shape of every error."""

from collections.abc import Sequence
from typing import Final

from starlette.types import Receive, Scope, Send

from serve.values.document import dump_json

WHOLE_RESPONSE: Final = "millrace.whole_response"
"""ASGI extension: a coroutine function that takes the status, headers and body of a response, and sends it at once."""
Headers = Sequence[tuple[bytes, bytes]]


class Reply:
    """A whole response; an ASGI application, as Starlette's responses are, but cheaper to make.

    Args:
        body: The bytes.
        status: Of HTTP.
        media_type: Of the body.
        headers: Further headers.

    Attributes:
        headers: All headers, names in lower case.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        body: bytes,
        status: int = 200,
        media_type: bytes = b"application/json",
        headers: dict[str, str] | None = None,
    ) -> None:
        self.body = body
        self.status = status
        self.headers = [(b"content-length", b"%d" % len(body)), (b"content-type", media_type)]
        if headers:
            self.headers += [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it by the two messages of ASGI."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


def error_response(message: str, status: int, headers: dict[str, str] | None = None) -> Reply:
    """The one shape of every error."""
    return Reply(dump_json({"error": message}), status, headers=headers)
