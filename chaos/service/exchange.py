"""Sends raw bytes to a server and reads the response."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

TIMEOUT_S: Final = 20.0


@dataclass(frozen=True)
class Response:
    """A response, or the lack of one.

    Attributes:
        status: HTTP status; 0 if the server closed the connection without a response, -1 after a timeout.
        body: Body of the response.
        seconds: Time from opening the connection to the last byte of the response.
    """

    status: int
    body: bytes
    seconds: float


async def exchange(host: str, port: int, raw: bytes) -> Response:
    """Open a connection, send bytes, and read one response."""
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection(host, port, limit=2**22)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            sending = asyncio.create_task(_send(writer, raw))
            status, body = await _read(reader)
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending
    except TimeoutError:
        status, body = -1, b""
    except (ConnectionError, asyncio.IncompleteReadError):
        status, body = 0, b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return Response(status, body, time.perf_counter() - started)


async def exchange_all(address: str, requests: Sequence[bytes], *, concurrency: int = 8) -> list[Response]:
    """Send each request on a new connection, at most ``concurrency`` at the same time."""
    host, port = address.removeprefix("http://").split(":")
    semaphore = asyncio.Semaphore(concurrency)

    async def one(raw: bytes) -> Response:
        async with semaphore:
            return await exchange(host, int(port), raw)

    return await asyncio.gather(*(one(raw) for raw in requests))


async def _send(writer: asyncio.StreamWriter, raw: bytes) -> None:
    with contextlib.suppress(ConnectionError):  # refused before all bytes were sent: the response says why
        writer.write(raw)
        await writer.drain()


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ")[1])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    return status, await reader.readexactly(int(headers.get("content-length", "0")))
