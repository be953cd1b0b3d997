"""Connections that are punctual: who sends or reads too slowly is let go, and cannot hold the server for nothing.

uvicorn closes an idle connection after a response, but waits for ever for a head, a body, or a reader. Here each
connection knows when its next step is due, and one sweep a second closes those that are late.
"""

import asyncio
import logging
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from pipelines.config.profile import Serve
from serve.protocols.document import dump_json

logger = logging.getLogger(__name__)

MAX_HEAD_BYTES: Final = 65_536
"""Of a request line and its headers together."""


class PunctualProtocol(HttpToolsProtocol):
    """An HTTP connection with deadlines; `settings` are those of the class that `punctual` makes."""

    settings: Serve

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._due: float | None = None
        self._awaited = ""
        self._head_bytes = 0
        self._has_begun = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as its base
        """A client has connected: its request's head is due."""
        super().connection_made(transport)
        self._expect("head", self.settings.head_deadline_s)

    def on_message_begin(self) -> None:
        """A further request begins on a connection that was kept."""
        super().on_message_begin()
        self._has_begun = True
        self._head_bytes = 0
        self._expect("head", self.settings.head_deadline_s)

    def on_url(self, url: bytes) -> None:
        """A part of the path."""
        super().on_url(url)
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        super().on_header(name, value)
        self._count_head(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        """The head is there: the body is due."""
        if self.transport.is_closing():
            return
        self._expect("body", self.settings.body_deadline_s)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there: nothing is due but the answer, which has a deadline of its own."""
        self._due = None
        if not self.transport.is_closing():
            super().on_message_complete()

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered: some of it is due."""
        super().pause_writing()
        self._expect("reader", self.settings.write_deadline_s)

    def resume_writing(self) -> None:
        """It reads on."""
        super().resume_writing()
        self._due = None

    def sweep(self, now: float) -> None:
        """Let go who is late.

        Args:
            now: Of the event loop's clock.
        """
        if self._due is None or now < self._due or self.transport.is_closing():
            return
        self._due = None
        logger.info("closed a connection whose %s was late", self._awaited)
        if self._awaited == "reader":
            self.transport.abort()
        elif not self._has_begun:
            self.transport.close()  # there is nobody to tell
        elif self._awaited == "head" or not self.cycle.response_started:
            self._refuse(408, f"the request's {self._awaited} did not arrive in time")
        else:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, in the one shape of every error."""
        self._refuse(400, msg)

    def _expect(self, what: str, seconds: float) -> None:
        self._awaited = what
        self._due = self.loop.time() + seconds

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431, f"the request's head is larger than {MAX_HEAD_BYTES} bytes")

    def _refuse(self, status: int, message: str) -> None:
        body = dump_json({"error": message})
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()


def punctual(settings: Serve) -> type[PunctualProtocol]:
    """The class of connections with these deadlines."""
    return type("Connection", (PunctualProtocol,), {"settings": settings})
