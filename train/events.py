"""Events that ranks send to the driver: JSON messages over one authenticated connection per rank.

Horovod forwards the output of a rank in blocks of 64 kB, so most runs would show it only at the end. Progress and the
first error must arrive earlier.
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


@contextlib.contextmanager
def listen(host: str, key: bytes, on_event: OnEvent) -> Iterator[EventAddress]:
    """Receive the events of ranks while the block runs; yields the address for the ranks.

    Args:
        host: Address of this machine that ranks can connect to.
        key: Secret key of this run.
        on_event: Called with each event, one at a time.
    """
    lock = threading.Lock()
    context = contextvars.copy_context()  # a new thread has an empty context: log lines would not name the stage

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
            logger.debug("rejected a connection: %s", error)
            continue
        threading.Thread(target=_receive, args=(connection, on_event), daemon=True).start()


def _receive(connection: "Connection[Any, Any]", on_event: OnEvent) -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            on_event(json.loads(connection.recv_bytes()))


class Output:
    """A file-like object that keeps the last lines of the ranks' output, to log them when a rank fails."""

    def __init__(self, keep: int = 400) -> None:
        self._keep = keep
        self._text = ""
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        """Append output; a line may arrive in several pieces."""
        with self._lock:
            self._text = "\n".join((self._text + text).split("\n")[-self._keep :])
        return len(text)

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def close(self) -> None:
        """Do nothing: Horovod closes its streams, and `lines` is read after that."""

    @property
    def lines(self) -> list[str]:
        """The last lines that are not empty."""
        return [line for line in self._text.split("\n") if line.strip()]
