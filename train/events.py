"""What ranks tell the driver while they work: JSON messages over one authenticated connection a rank.

Horovod forwards a rank's output in blocks of 64 kB, which is at the end of most runs; progress and the first error
need a way of their own.
"""

import contextlib
import contextvars
import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

logger = logging.getLogger(__name__)

OnEvent = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class EventAddress:
    """Where the driver listens, and the secret that a rank must know (HMAC, as in `multiprocessing`)."""

    host: str
    port: int
    key: bytes


class EventSender:
    """A rank's end of the connection."""

    def __init__(self, address: EventAddress) -> None:
        self._connection = Client((address.host, address.port), authkey=address.key)

    def send(self, event: str, **fields: Any) -> None:
        """Send one event; a driver that has gone away is no reason to fail here, Spark ends this process anyway."""
        with contextlib.suppress(OSError):
            self._connection.send_bytes(json.dumps({"event": event, **fields}).encode())


@contextlib.contextmanager
def listen(host: str, key: bytes, on_event: OnEvent) -> Iterator[EventAddress]:
    """Receive the ranks' events while the block runs.

    Args:
        host: Address of the driver that ranks can reach.
        key: Secret of this run.
        on_event: Called with each event, one at a time.
    """
    lock = threading.Lock()
    context = contextvars.copy_context()  # threads start with an empty one, and log lines would lose their stage

    def handle(event: dict[str, Any]) -> None:
        with lock:
            context.run(on_event, event)

    with Listener((host, 0), authkey=key) as listener:
        accepting = threading.Thread(target=_accept, args=(listener, handle), daemon=True)
        accepting.start()
        yield EventAddress(host, listener.address[1], key)


def _accept(listener: Listener, on_event: OnEvent) -> None:
    while True:
        try:
            connection = listener.accept()
        except Exception as error:
            if isinstance(error, OSError) and not isinstance(error, ConnectionError):
                return
            logger.debug("refused a connection: %s", error)
            continue
        threading.Thread(target=_receive, args=(connection, on_event), daemon=True).start()


def _receive(connection: "Connection[Any, Any]", on_event: OnEvent) -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            on_event(json.loads(connection.recv_bytes()))


class Output:
    """A file-like sink that keeps the last lines of the ranks' output, for the message when one fails."""

    def __init__(self, keep: int = 400) -> None:
        self._keep = keep
        self._text = ""
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        """Take output in pieces of any size."""
        with self._lock:
            self._text = "\n".join((self._text + text).split("\n")[-self._keep :])
        return len(text)

    def flush(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        """Horovod closes its streams; this one has nothing to release."""

    @property
    def lines(self) -> list[str]:
        """The last lines that are not empty."""
        return [line for line in self._text.split("\n") if line.strip()]
