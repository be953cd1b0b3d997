"""The process of a model: loads it, then answers calls on its connections until the server ends."""

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
"""Niceness of the process, so that the server has priority for a core."""


@dataclass(frozen=True)
class Loaded:
    """The model that the process has loaded.

    Attributes:
        origin: Its name, version and files.
        signatures: Its functions.
        joins: See `Servable`.
    """

    origin: Origin
    signatures: Mapping[str, Signature]
    joins: bool


def main(load: Load, connections: Sequence[socket.socket], *, logs_json: bool = False) -> None:
    """Load a model and report that on the first connection, then answer calls on each in a thread; never returns.

    Args:
        load: Loads the model.
        connections: Connections to the server.
        logs_json: See `configure_logging`.

    It sends a `Loaded`, then the outputs of each call, or an exception instead of them.
    """
    # The server decides when this process ends: a signal to the whole group must not interrupt calls.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    configure_logging(as_json=logs_json)
    # With less priority than the server: health checks and refusals must not wait for computations.
    os.nice(NICE)
    try:
        servable = load()
    except Exception as error:  # the server handles it
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
            os._exit(0)  # the server has ended: the results of other threads are not needed
        answer: Any
        try:
            answer = servable.answer(servable.signatures[name], inputs, rows)
        except Exception as error:  # it is the answer to this call
            answer = error
        _send_or_end(connection, answer if not isinstance(answer, Exception) else _portable(servable, answer))


def _portable(servable: Servable, error: Exception) -> Exception:
    """The error, or one with its text if it cannot be pickled."""
    error.__cause__ = error.__context__ = None
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:  # errors of libraries may not be picklable
        return InferenceFailed(servable.name, servable.version, f"{type(error).__name__}: {error}")
    return error


def _send_or_end(connection: socket.socket, message: Any) -> None:
    try:
        write(connection, pack(message))
    except OSError:
        os._exit(0)
