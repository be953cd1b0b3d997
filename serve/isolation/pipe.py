"""Messages between the server and the process of a model, over a pair of sockets.

Both ends are the same program, so the messages are pickled. Small arrays are part of the message, which is one system
call. Large arrays follow it, from and into their own memory.
"""

import pickle
import socket
import struct
from dataclasses import dataclass
from typing import Any, Final

LARGE_BYTES: Final = 65_536
"""Arrays of this size or more follow the message."""
_HEAD: Final = struct.Struct("<QI")
"""Bytes of the pickled message, number of arrays after it."""
_SIZE: Final = struct.Struct("<Q")
"""Bytes of an array, before its memory."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A message that is ready to be sent.

    Attributes:
        body: The head (`_HEAD`) and the pickled message.
        large: The memory of the large arrays.
    """

    body: bytes
    large: list[memoryview]

    @property
    def is_small(self) -> bool:
        """Whether it fits into an empty socket buffer, so that `write` does not wait for the reader."""
        return not self.large and len(self.body) <= LARGE_BYTES


def pack(message: Any) -> Packed:
    """Pickle a message."""
    large: list[memoryview] = []

    def stays_inside(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < LARGE_BYTES:
            return True
        large.append(raw)
        return False

    pickled = pickle.dumps(message, protocol=5, buffer_callback=stays_inside)
    return Packed(_HEAD.pack(len(pickled), len(large)) + pickled, large)


def write(end: socket.socket, message: Packed) -> None:
    """Send a message.

    Raises:
        TimeoutError: The other end has not read it within the time set by `limit_wait`.
        OSError: The other end is closed.
    """
    end.sendall(message.body)
    for array in message.large:
        end.sendall(_SIZE.pack(array.nbytes))
        end.sendall(array)


def read_now(end: socket.socket) -> bytes:
    """Read the bytes that have arrived of a message. A small message `is_whole`; `receive` reads the rest of others.

    Raises:
        EOFError: The other end is closed.
        OSError: The connection failed.
    """
    arrived = end.recv(2 * LARGE_BYTES)
    if not arrived:
        raise EOFError
    return arrived


def is_whole(arrived: bytes) -> bool:
    """Whether these bytes are a whole message."""
    return len(arrived) >= _HEAD.size and _HEAD.unpack_from(arrived) == (len(arrived) - _HEAD.size, 0)


def receive(end: socket.socket, arrived: bytes = b"") -> Any:
    """Wait for a message; arrays in it may be read-only.

    Args:
        end: The socket.
        arrived: The bytes of the message that were read before.

    Raises:
        EOFError: The other end is closed.
        TimeoutError: No message arrived within the time set by `limit_wait`.
        OSError: The connection failed during a message.
    """
    while not is_whole(arrived):
        if len(arrived) >= _HEAD.size:
            return _receive_rest(end, arrived)
        more = end.recv(2 * LARGE_BYTES)
        if not more:
            raise EOFError
        arrived += more
    return pickle.loads(memoryview(arrived)[_HEAD.size :])  # noqa: S301 - from our own process


def _receive_rest(end: socket.socket, arrived: bytes) -> Any:
    length, arrays = _HEAD.unpack_from(arrived)
    rest = memoryview(arrived)[_HEAD.size :]
    pickled, rest = _fill(end, length, rest)
    large = []
    for _ in range(arrays):
        size, rest = _fill(end, _SIZE.size, rest)
        array, rest = _fill(end, _SIZE.unpack(size)[0], rest)
        large.append(array)
    return pickle.loads(pickled, buffers=large)  # noqa: S301 - from our own process


def _fill(end: socket.socket, length: int, arrived: memoryview) -> tuple[bytearray, memoryview]:
    """Read `length` bytes, the first of them from `arrived`; also returns the rest of `arrived`."""
    filled = bytearray(length)
    known = min(length, len(arrived))
    filled[:known] = arrived[:known]
    view = memoryview(filled)[known:]
    while view:
        count = end.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return filled, arrived[known:]


def limit_wait(end: socket.socket, seconds: float) -> None:
    """Set a timeout for `write` and `receive`.

    Not by the socket's options SO_RCVTIMEO and SO_SNDTIMEO: an event loop makes its sockets non-blocking.
    """
    end.settimeout(seconds)
