"""A TCP proxy that now and then swallows a reply and breaks the connection: the request was done, nobody knows."""

import contextlib
import random
import socket
import threading
from types import TracebackType

CHUNK = 1 << 16


class DroppingProxy:
    """Stands between clients and one address, on a free port of the loopback.

    Args:
        target: Where requests go.
        drop: Share of replies that are swallowed.
        seed: Of the dice.

    Attributes:
        address: ``host:port`` for clients.
        dropped: Replies swallowed so far.
    """

    def __init__(self, target: str, drop: float, seed: int) -> None:
        host, _, port = target.partition(":")
        self._target = (host, int(port))
        self._drop, self._dice = drop, random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.dropped = 0

    def __enter__(self) -> "DroppingProxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in list(self._open):
            _close(each)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(self._target, 5)
                    server.settimeout(None)
                except OSError:
                    client.close()
                    continue
                self._open |= {client, server}
                for source, target, is_reply in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pump, args=(source, target, is_reply), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, is_reply: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                if is_reply and self._dice.random() < self._drop:
                    self.dropped += 1
                    break
                target.sendall(data)
        for each in (source, target):
            self._open.discard(each)
            _close(each)


def _close(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
