"""Raw bytes to a server, and what comes back."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

TIMEOUT_S: Final = 20.0


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: Of HTTP; 0 if the connection was closed without an answer, -1 if nothing came in time.
        body: Its body.
        seconds: From the first byte sent to the last received.
    """

    status: int
    body: bytes
    seconds: float


async def exchange(host: str, port: int, raw: bytes) -> Answer:
    """Send bytes on a connection of their own and read one answer."""
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
    return Answer(status, body, time.perf_counter() - started)


async def exchange_all(address: str, requests: Sequence[bytes], *, at_once: int = 8) -> list[Answer]:
    """Send many, a few at a time."""
    host, port = address.removeprefix("http://").split(":")
    gate = asyncio.Semaphore(at_once)

    async def one(raw: bytes) -> Answer:
        async with gate:
            return await exchange(host, int(port), raw)

    return await asyncio.gather(*(one(raw) for raw in requests))


async def _send(writer: asyncio.StreamWriter, raw: bytes) -> None:
    with contextlib.suppress(ConnectionError):  # refused before it was all sent: the answer says why
        writer.write(raw)
        await writer.drain()


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ")[1])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    return status, await reader.readexactly(int(headers.get("content-length", "0")))
