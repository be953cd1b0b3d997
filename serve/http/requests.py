"""Reads what a request carries: a header, a timeout, the body with its limits and compression."""

import asyncio
import contextlib
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Final

from starlette.requests import ClientDisconnect, Request

from serve.errors import BodyTooLarge, EncodingRefused, InvalidRequest
from serve.values.document import describe

Counting = Callable[[], AbstractContextManager[None]]

_GZIP: Final = zlib.MAX_WBITS | 16
ENCODINGS: Final = {"identity": None, "": None, "gzip": _GZIP, "x-gzip": _GZIP, "deflate": zlib.MAX_WBITS}
"""The ``wbits`` of zlib for each Content-Encoding (RFC 9110, 8.4.1: deflate is a zlib stream, x-gzip equals gzip)."""
DECOMPRESSORS: Final = 2
"""Bodies that are decompressed at the same time."""
MAX_STREAMS: Final = 16
"""Members of a gzip body; each costs a copy of the bytes after it."""
MAX_DIGITS: Final = 18
"""Of a Content-Length; it fits an int64."""
TIMEOUTS: Final = {
    b"x-request-timeout-ms": "X-Request-Timeout-Ms",
    b"x-envoy-expected-rq-timeout-ms": "X-Envoy-Expected-Rq-Timeout-Ms",
}
"""Headers with a client's timeout. Envoy, and service meshes built on it, send the second one."""
MAX_TIMEOUT_DIGITS: Final = 9
"""Of milliseconds: more than a week."""


def header_of(request: Request, name: bytes) -> str | None:
    """The value of a header, or None. Starlette's `Headers` would decode the names of all headers.

    Args:
        request: The request.
        name: In lower case.
    """
    for key, value in request.scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return None


def timeout_of(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    """How many seconds the client waits for the answer, if a header says so.

    Args:
        headers: Names in lower case.

    Raises:
        InvalidRequest: The header's value is not a whole number of milliseconds above 0.
    """
    for name, value in headers:
        if name in TIMEOUTS:
            if not value.isdigit() or len(value) > MAX_TIMEOUT_DIGITS or not int(value):
                found = describe(value.decode("latin-1"))
                message = f"{TIMEOUTS[name]}: expected a whole number of milliseconds above 0, found {found}"
                raise InvalidRequest(message)
            return int(value) / 1e3
    return None


class BodyReader:
    """Reads and decompresses bodies, whatever their Content-Type is.

    Args:
        limit: Most bytes, before and after decompression.
        receiving: A context for the time in which a body arrives, unless it came with its head; it may refuse it.
        unpacking: A context for the time in which a body is decompressed; it may refuse it.
    """

    def __init__(
        self, limit: int, receiving: Counting = contextlib.nullcontext, unpacking: Counting = contextlib.nullcontext
    ) -> None:
        self._limit = limit
        self._receiving = receiving
        self._unpacking = unpacking
        # Their own threads: a small body may decompress to a large one, and others must not wait for it.
        self._threads = ThreadPoolExecutor(DECOMPRESSORS, thread_name_prefix="decompress")

    async def read(self, request: Request, limit: int | None = None) -> bytes:
        """Read a body.

        Args:
            request: The request.
            limit: Most bytes of this body; by default that of the reader.

        Raises:
            BodyTooLarge: Content-Length is over the limit (nothing is read), or more bytes than the limit arrive, or
                the decompressed body is larger.
            EncodingRefused: Content-Encoding is neither gzip nor deflate.
            InvalidRequest: Content-Length is not a number, or the body is not compressed as Content-Encoding says.
        """
        limit = self._limit if limit is None else limit
        encoding = (header_of(request, b"content-encoding") or "identity").lower()
        if encoding not in ENCODINGS:
            raise EncodingRefused(encoding)
        declared = header_of(request, b"content-length") or "0"
        if not (declared.isascii() and declared.isdigit()) or len(declared) > MAX_DIGITS:
            raise InvalidRequest("Content-Length is not a number of bytes")
        if int(declared) > limit:
            raise BodyTooLarge(limit)
        bits = ENCODINGS[encoding]
        body = await self._receive(request, limit)
        if bits is None:
            return body
        with self._unpacking():
            return await asyncio.get_running_loop().run_in_executor(self._threads, decompress, body, bits, limit)

    async def _receive(self, request: Request, limit: int) -> bytes:
        part, is_last = await _receive_part(request, limit)
        if is_last:
            return part
        parts, size = [part], len(part)
        with self._receiving():
            while not is_last:
                part, is_last = await _receive_part(request, limit, size)
                parts.append(part)
                size += len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Stop the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)


async def _receive_part(request: Request, limit: int, received: int = 0) -> tuple[bytes, bool]:
    """The next part of the body, and whether it is the last one."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    part: bytes = message.get("body", b"")
    if received + len(part) > limit:
        raise BodyTooLarge(limit)
    return part, not message.get("more_body")


def decompress(body: bytes, bits: int, limit: int) -> bytes:
    """Decompress a body, and stop at the limit.

    Args:
        body: One deflate stream, or up to `MAX_STREAMS` gzip members.
        bits: zlib's ``wbits``.
        limit: Most bytes of the result.

    Raises:
        BodyTooLarge: The result would be larger.
        InvalidRequest: The data is damaged or cut off.
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
    raise InvalidRequest("the compressed body has more parts than the server accepts")
