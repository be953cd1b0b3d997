"""A model's own process: loads it, then answers on its connections until the server is gone."""

import logging
import os
import pickle
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from millrace.logs import configure_logging
from serve.errors import InferenceFailed
from serve.isolation.pipe import pack, receive, write
from serve.servables.servable import Origin, Servable
from serve.servables.signatures import Signature

logger = logging.getLogger(__name__)

Load = Callable[[], Servable]
NICE: Final = 5
"""How much behind the server the process stands in line for a core."""


@dataclass(frozen=True)
class Loaded:
    """What the process has loaded.

    Attributes:
        origin: What it is.
        signatures: What it can be asked.
        joins: See `Servable`.
    """

    origin: Origin
    signatures: Mapping[str, Signature]
    joins: bool


def main(load: Load, connections: Sequence[socket.socket], *, logs_json: bool = False) -> None:
    """Load a model and tell so by the first connection, then answer on each in a thread of its own; never returns.

    Args:
        load: Loads it.
        connections: To the server.
        logs_json: See `configure_logging`.

    What is sent back is a `Loaded`, then the outputs of each request, or an exception instead.
    """
    # The server decides when this process ends: a signal to the whole group shall not cut answers off.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    configure_logging(as_json=logs_json)
    # Behind the server, where both want the same core: refusals and health must not wait for what is computed.
    os.nice(NICE)
    try:
        servable = load()
    except Exception as error:  # whatever it is, the server decides
        _send_or_end(connections[0], error)
        os._exit(0)
    _send_or_end(connections[0], Loaded(servable.origin, servable.signatures, servable.joins))
    for connection in connections[1:]:
        threading.Thread(target=_answer_all, args=(servable, connection), daemon=True).start()
    _answer_all(servable, connections[0])


def _answer_all(servable: Servable, connection: socket.socket) -> None:
    while True:
        try:
            name, inputs, rows = receive(connection)
        except (EOFError, OSError):
            os._exit(0)  # the server is gone, and nobody waits for what other threads may still compute
        answer: Any
        try:
            answer = servable.answer(servable.signatures[name], inputs, rows)
        except Exception as error:  # it belongs to whoever asked
            answer = error
        _send_or_end(connection, answer if not isinstance(answer, Exception) else _portable(servable, answer))


def _portable(servable: Servable, error: Exception) -> Exception:
    """An error that can be sent: itself, or its text."""
    error.__cause__ = error.__context__ = None
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:  # libraries raise what cannot be pickled
        return InferenceFailed(servable.name, servable.version, f"{type(error).__name__}: {error}")
    return error


def _send_or_end(connection: socket.socket, message: Any) -> None:
    try:
        write(connection, pack(message))
    except OSError:
        os._exit(0)
