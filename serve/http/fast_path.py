"""Our HTTP connection: uvicorn's httptools protocol with deadlines, a limit on the head, and whole responses.

This is the one module that uses parts of `uvicorn.protocols` that uvicorn does not document. Nothing imports it if
`serve.fast_http` is false; then the server runs uvicorn's own protocol class. What that loses, the setting's
description says. ADR 18 has the measurements.

- Deadlines: uvicorn closes a connection that is idle after a response, but waits without a limit for a head, a body, or
  a client that does not read. Here each connection has the time when its next step is due. `close_if_late`, called once
  a second, closes connections that are late.
- Whole responses: head and body are one write instead of two.
"""

import asyncio
import logging
from functools import partial
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from millrace.config.sections.serve import Serve
from millrace.errors import shorten
from serve.http.responses import WHOLE_RESPONSE, Headers
from serve.monitoring.correlation import HEADER, context_of
from serve.values.document import dump_json

logger = logging.getLogger(__name__)

MAX_HEAD_BYTES: Final = 65_536
"""Of the request line and the headers together."""
MAX_DIGITS: Final = 18
"""Of a Content-Length; it fits an int64."""


def fast_protocol(settings: Serve) -> type["FastHttpProtocol"]:
    """The protocol class for these settings; uvicorn creates one object of it per connection."""
    return type("Connection", (FastHttpProtocol,), {"settings": settings})


class FastHttpProtocol(HttpToolsProtocol):
    """An HTTP connection with deadlines; `fast_protocol` sets the class attribute `settings`."""

    settings: Serve

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._awaited = ""
        """The part of a request that is due: "head", "body", or "" if none is."""
        self._read_due = 0.0
        self._write_due: float | None = None
        self._unwritten = 0
        self._unfinished = 0
        """Bytes received so far of a head without an end."""
        self._received = 0
        """At least the number of bytes of the current head."""
        self._has_begun = False
        self._plain_body = 0
        """Bytes still to come of a body that the parser does not parse, because its request offers an upgrade."""
        self._running: dict[RequestResponseCycle, asyncio.Task[None]] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as its base
        """A client has connected: the head of its request is due."""
        super().connection_made(transport)
        self._expect("head", self.settings.head_deadline_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has disconnected: cancel the requests that are still running."""
        super().connection_lost(exc)
        for cycle, task in self._running.items():
            if not cycle.response_complete:
                task.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse the next bytes."""
        if self.transport.is_closing():
            return
        if self._plain_body:
            self._take_plain_body(data)
            return
        if self._unfinished > MAX_HEAD_BYTES:
            self._refuse_head()
            return
        self._received = self._unfinished + len(data)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # Some clients offer h2c in their first request. The answer is HTTP/1.1 (RFC 9110, 7.8).
            self._take_plain_body(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self.send_400_response(f"the request is not valid HTTP: {shorten(str(error), 200)}")
        # The parser calls back only at the end of a head: count its bytes until then.
        self._unfinished = self._unfinished + len(data) if self._awaited == "head" else 0
        if not self._awaited and not self.transport.is_closing() and self._is_idle:
            self._expect("head", self.settings.head_deadline_s)

    @property
    def _is_idle(self) -> bool:
        return self.timeout_keep_alive_task is None and all(cycle.response_complete for cycle in self._running)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._has_begun = True
        self._expect("head", self.settings.head_deadline_s)

    def on_headers_complete(self) -> None:
        """The head is complete: the body is due."""
        if self.transport.is_closing():
            return
        # Count the head only if so many bytes have arrived at all.
        if self._received > MAX_HEAD_BYTES and self._head_bytes() > MAX_HEAD_BYTES:
            self._refuse_head()
            return
        self._expect("body", self.settings.body_deadline_s)
        super().on_headers_complete()
        extensions: dict[str, Any] = {WHOLE_RESPONSE: partial(respond, self.cycle)}
        self.scope["extensions"] = extensions
        if self.parser.should_upgrade():
            length = dict(self.headers).get(b"content-length", b"0")
            self._plain_body = int(length) if length.isdigit() and len(length) <= MAX_DIGITS else 0
            self.cycle.keep_alive = False

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def on_body(self, body: bytes) -> None:
        """A part of the body has arrived."""
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete: the client owes nothing more. The answer has its own deadline."""
        if self._plain_body or self.transport.is_closing():
            return
        self._awaited = ""
        self._has_begun = False
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        task = self.loop.create_task(cycle.run_asgi(app))
        self.tasks.add(task)
        self._running[cycle] = task

        def end(done: asyncio.Task[None]) -> None:
            self.tasks.discard(done)
            self._running.pop(cycle, None)
            # The scope's extension holds the cycle, and the cycle its scope; see `serve.garbage`.
            cycle.scope = {}  # type: ignore[typeddict-item] # nothing reads it any more

        task.add_done_callback(end)

    def pause_writing(self) -> None:
        """The client reads more slowly than the server writes: some bytes have to leave before the deadline."""
        super().pause_writing()
        self._unwritten = self.transport.get_write_buffer_size()
        self._write_due = self.loop.time() + self.settings.write_deadline_s

    def resume_writing(self) -> None:
        """The client has read enough."""
        super().resume_writing()
        self._write_due = None

    def close_if_late(self, now: float) -> None:
        """Close the connection if its next step is overdue.

        Args:
            now: By the clock of the event loop.
        """
        if self.transport.is_closing():
            return
        if self._write_due is not None and now >= self._write_due:
            left = self.transport.get_write_buffer_size()
            if left < self._unwritten:  # the client is slow, but reads
                self._unwritten, self._write_due = left, now + self.settings.write_deadline_s
            else:
                logger.info("closed a connection whose client does not read the response")
                self.transport.abort()
                return
        if self._awaited and now >= self._read_due:
            self._close_late(now)

    def _close_late(self, now: float) -> None:
        if self._awaited == "body" and self.flow.read_paused:
            self._read_due = now + self.settings.body_deadline_s  # the server has paused reading
            return
        logger.info("closed a connection whose %s was late", self._awaited)
        message = f"the request's {self._awaited} did not arrive in time"
        is_current = self._awaited == "head" or not self.cycle.response_started
        mine = None if self._awaited == "head" else self.cycle
        earlier = [cycle for cycle in self._running if cycle is not mine and not cycle.response_complete]
        if not self._has_begun:
            self.transport.close()  # there is no request to answer
        elif earlier or not is_current:
            self.transport.abort()  # the client would read an error as the response to an earlier request
        else:
            self._refuse(408, message)

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP, in the one shape of every error."""
        self._refuse(400, msg)

    def _expect(self, what: str, seconds: float) -> None:
        self._awaited = what
        self._read_due = self.loop.time() + seconds

    def _refuse_head(self) -> None:
        self._refuse(431, f"the request's head is larger than {MAX_HEAD_BYTES} bytes")

    def _take_plain_body(self, data: bytes) -> None:
        part = data[: self._plain_body]
        self._plain_body -= len(part)
        if part:
            self.cycle.body += part
            self.cycle.message_event.set()
        if not self._plain_body:
            self._awaited = ""
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def _refuse(self, status: int, message: str) -> None:
        body = dump_json({"error": message})
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n" % len(body)
        identity = context_of(self.headers if self._awaited == "body" else ())["request_id"].encode()
        self.transport.write(STATUS_LINE[status] + head + b"%b: %b\r\n\r\n" % (HEADER, identity) + body)
        self.transport.close()


async def respond(cycle: RequestResponseCycle, status: int, headers: Headers, body: bytes) -> None:
    """Send a whole response by one write. Head and body by themselves would be two system calls.

    The bytes are those of the cycle's `send` for the two ASGI messages of such a response.
    """
    if cycle.flow.write_paused and not cycle.disconnected:
        await cycle.flow.drain()
    if cycle.disconnected:
        return
    cycle.response_started = True
    cycle.waiting_for_100_continue = False
    parts = [STATUS_LINE[status]]
    closes = False
    for name, value in (*cycle.default_headers, *headers):
        parts += (name, b": ", value, b"\r\n")
        if name == b"connection" and value == b"close":
            closes = True
            cycle.keep_alive = False
    parts.append(b"\r\n" if closes or cycle.keep_alive else b"connection: close\r\n\r\n")
    if cycle.scope["method"] != "HEAD":
        parts.append(body)
    cycle.transport.write(b"".join(parts))
    cycle.response_complete = True
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
