"""Connections that are punctual: who sends or reads too slowly is let go, and cannot hold the server for nothing.

uvicorn closes an idle connection after a response, but waits for ever for a head, a body, or a reader. Here each
connection knows when its next step is due, and one sweep a second closes those that are late.
"""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from millrace.config.sections.serve import Serve
from serve.values.document import dump_json

logger = logging.getLogger(__name__)

WHOLE_RESPONSE: Final = "millrace.whole_response"
"""ASGI extension: a coroutine function that takes status, headers and body of an answer, and sends it."""
Headers = Sequence[tuple[bytes, bytes]]
MAX_HEAD_BYTES: Final = 65_536
"""Of a request line and its headers together."""
MAX_DIGITS: Final = 18
"""Of a Content-Length; it fits an int64."""


class PunctualProtocol(HttpToolsProtocol):
    """An HTTP connection with deadlines; `settings` are those of the class that `punctual` makes."""

    settings: Serve

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._awaited = ""
        """The part of a request that is due: head, body, or nothing."""
        self._read_due = 0.0
        self._write_due: float | None = None
        self._unwritten = 0
        self._unfinished = 0
        self._received = 0
        """Bytes since the last request's head, and no fewer than those of this one's."""
        self._has_begun = False
        self._plain_body = 0
        """Bytes of a body that the parser leaves alone, since its request asks for another protocol."""
        self._running: dict[RequestResponseCycle, asyncio.Task[None]] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as its base
        """A client has connected: its request's head is due."""
        super().connection_made(transport)
        self._expect("head", self.settings.head_deadline_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone: nobody waits for its answers."""
        super().connection_lost(exc)
        for cycle, task in self._running.items():
            if not cycle.response_complete:
                task.cancel()

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
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
            # Such as h2c, which some clients offer at first: it is answered as HTTP/1.1 (RFC 9110, 7.8).
            self._take_plain_body(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("the request is no HTTP")
        # A head without an end is never handed over: its bytes are counted as they come.
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
        """The head is there: the body is due."""
        if self.transport.is_closing():
            return
        # What came in one small piece is no large head, and need not be counted.
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
        """A part of the body."""
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there: nothing is due but the answer, which has a deadline of its own."""
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
            # It holds the cycle, by the extension: such rings would be left to the collector, one for each request.
            cycle.scope = {}  # type: ignore[typeddict-item] # nobody looks at it any more

        task.add_done_callback(end)

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered: some of it is due."""
        super().pause_writing()
        self._unwritten = self.transport.get_write_buffer_size()
        self._write_due = self.loop.time() + self.settings.write_deadline_s

    def resume_writing(self) -> None:
        """It reads on."""
        super().resume_writing()
        self._write_due = None

    def sweep(self, now: float) -> None:
        """Let go who is late.

        Args:
            now: Of the event loop's clock.
        """
        if self.transport.is_closing():
            return
        if self._write_due is not None and now >= self._write_due:
            left = self.transport.get_write_buffer_size()
            if left < self._unwritten:  # it reads, though slowly
                self._unwritten, self._write_due = left, now + self.settings.write_deadline_s
            else:
                logger.info("closed a connection whose reader stands still")
                self.transport.abort()
                return
        if self._awaited and now >= self._read_due:
            self._late(now)

    def _late(self, now: float) -> None:
        if self._awaited == "body" and self.flow.read_paused:
            self._read_due = now + self.settings.body_deadline_s  # it is the server that does not read
            return
        logger.info("closed a connection whose %s was late", self._awaited)
        asked = f"the request's {self._awaited} did not arrive in time"
        is_current = self._awaited == "head" or not self.cycle.response_started
        mine = None if self._awaited == "head" else self.cycle
        earlier = [cycle for cycle in self._running if cycle is not mine and not cycle.response_complete]
        if not self._has_begun:
            self.transport.close()  # there is nobody to tell
        elif earlier or not is_current:
            self.transport.abort()  # what is written now would be taken for another answer
        else:
            self._refuse(408, asked)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, in the one shape of every error."""
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
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()


async def respond(cycle: RequestResponseCycle, status: int, headers: Headers, body: bytes) -> None:
    """Answer a request whose answer is whole, by one write; head and body by themselves would be two system calls.

    It does what the cycle's `send` does for the two messages of such an answer.
    """
    if cycle.flow.write_paused and not cycle.disconnected:
        await cycle.flow.drain()
    if cycle.disconnected:
        return
    cycle.response_started = True
    cycle.waiting_for_100_continue = False
    parts = [STATUS_LINE[status]]
    for name, value in (*cycle.default_headers, *headers):
        if name == b"connection" and value == b"close":
            cycle.keep_alive = False
            continue
        parts += (name, b": ", value, b"\r\n")
    parts.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
    if cycle.scope["method"] != "HEAD":
        parts.append(body)
    cycle.transport.write(b"".join(parts))
    cycle.response_complete = True
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()


def punctual(settings: Serve) -> type[PunctualProtocol]:
    """The class of connections with these deadlines."""
    return type("Connection", (PunctualProtocol,), {"settings": settings})
