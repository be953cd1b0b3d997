"""Events that ranks send to the driver: JSON messages over one authenticated connection per rank.

Horovod forwards the output of a rank in blocks of 64 kB, so most runs would show it only at the end. Progress and the
first error must arrive earlier.
"""

import contextlib
import contextvars
import json
import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, answer_challenge, deliver_challenge
from typing import Any, Final

logger = logging.getLogger(__name__)

HANDSHAKE_S: Final = 10.0
"""How long a connection may take to authenticate itself."""
DRAIN_S: Final = 5.0
"""How long to wait for the last events of ranks that have ended."""

OnEvent = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class EventAddress:
    """Where the driver listens, and the secret key for authentication (HMAC, as in `multiprocessing`)."""

    host: str
    port: int
    key: bytes


class EventSender:
    """The rank's side of the connection."""

    def __init__(self, address: EventAddress) -> None:
        self._connection = Client((address.host, address.port), authkey=address.key)

    def send(self, event: str, **fields: Any) -> None:
        """Send one event. A lost connection is ignored: when the driver has ended, Spark ends this process too."""
        with contextlib.suppress(OSError):
            self._connection.send_bytes(json.dumps({"event": event, **fields}).encode())

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@contextlib.contextmanager
def listen(host: str, key: bytes, on_event: OnEvent) -> Iterator[EventAddress]:
    """Receive the events of ranks while the block runs; yields the address for the ranks.

    Events are handled in a thread of their own, so that a slow `on_event` does not stop a rank. At the end of the
    block, what the ranks have sent is handled before it is left.

    Args:
        host: Address of this machine that ranks can connect to.
        key: Secret key of this run.
        on_event: Called with each event, one at a time. An error in it is logged, and the next event is handled.
    """
    events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    receiving: list[threading.Thread] = []
    ended = threading.Event()
    context = contextvars.copy_context()  # a new thread has an empty context: log lines would not name the stage
    handling = threading.Thread(target=context.run, args=(_handle, events, on_event), daemon=True)
    with socket.create_server((host, 0)) as server:
        accepting = threading.Thread(target=_accept, args=(server, key, events, receiving, ended), daemon=True)
        handling.start()
        accepting.start()
        try:
            yield EventAddress(host, server.getsockname()[1], key)
        finally:
            ended.set()
            _shut(server)  # closing alone would not wake the thread that accepts
            accepting.join()
            until = time.monotonic() + DRAIN_S
            for thread in receiving:
                thread.join(max(0.0, until - time.monotonic()))
            events.put(None)
            handling.join()


def _handle(events: "queue.SimpleQueue[dict[str, Any] | None]", on_event: OnEvent) -> None:
    while (event := events.get()) is not None:
        try:
            on_event(event)
        except Exception as error:  # the next event may be the one that says why a rank failed
            logger.warning("event '%s' of a rank was not handled: %s", event.get("event"), error)


def _accept(
    server: socket.socket,
    key: bytes,
    events: "queue.SimpleQueue[dict[str, Any] | None]",
    receiving: list[threading.Thread],
    ended: threading.Event,
) -> None:
    while not ended.is_set():
        try:
            accepted, _ = server.accept()
        except OSError as error:  # it was shut down; or that connection failed, and others may come
            logger.debug("no connection: %s", error)
            ended.wait(0.1)
            continue
        thread = threading.Thread(target=_receive, args=(accepted, key, events), daemon=True)
        receiving.append(thread)
        thread.start()


def _receive(accepted: socket.socket, key: bytes, events: "queue.SimpleQueue[dict[str, Any] | None]") -> None:
    """Authenticate a connection, then receive its events. Each has its own thread: a silent one stops nobody."""
    with accepted, Connection(os.dup(accepted.fileno())) as connection:
        limit = threading.Timer(HANDSHAKE_S, _shut, (accepted,))
        limit.daemon = True
        limit.start()
        try:
            deliver_challenge(connection, key)
            answer_challenge(connection, key)
        except (OSError, EOFError, AuthenticationError) as error:
            logger.debug("rejected a connection: %s", error)
            return
        finally:
            limit.cancel()
        with contextlib.suppress(EOFError, OSError):
            while True:
                events.put(json.loads(connection.recv_bytes()))


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


MAX_LINE: Final = 2_000
"""Characters of a line of output that are kept."""


class Output:
    """A file-like object that keeps the last lines of the ranks' output, to log them when a rank fails."""

    def __init__(self, keep: int = 400) -> None:
        self._keep = keep
        self._text = ""
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        """Append output; a line may arrive in several pieces."""
        with self._lock:
            lines = (self._text + text.replace("\r", "\n")).split("\n")[-self._keep :]
            self._text = "\n".join(line[-MAX_LINE:] for line in lines)
        return len(text)

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def close(self) -> None:
        """Do nothing: Horovod closes its streams, and `lines` is read after that."""

    @property
    def lines(self) -> list[str]:
        """The last lines that are not empty."""
        return [line for line in self._text.split("\n") if line.strip()]
