"""What the server and a model's process tell each other, over a pair of sockets, one message at a time.

Both ends are the same program, so the messages are pickled. Small arrays travel inside the message, which is one system
call; large ones behind it, from and into their own memory.
"""

import pickle
import socket
import struct
from dataclasses import dataclass
from typing import Any, Final

LARGE_BYTES: Final = 65_536
"""From this size on an array travels by itself."""
_HEAD: Final = struct.Struct("<QI")
"""Bytes of the pickled message, number of arrays behind it."""
_SIZE: Final = struct.Struct("<Q")
"""Bytes of an array, before its memory."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A message on its way.

    Attributes:
        body: Its length, the number of arrays behind it, and itself.
        large: Those arrays' memory.
    """

    body: bytes
    large: list[memoryview]

    @property
    def is_small(self) -> bool:
        """Whether an empty socket takes it at once: `write` does not wait for its reader."""
        return not self.large and len(self.body) <= LARGE_BYTES


def pack(message: Any) -> Packed:
    """Make a message ready to be written."""
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
        TimeoutError: Nobody has read it for the time that `limit_wait` set.
        OSError: Nobody is there to read it.
    """
    end.sendall(message.body)
    for array in message.large:
        end.sendall(_SIZE.pack(array.nbytes))
        end.sendall(array)


def read_now(end: socket.socket) -> bytes:
    """What has arrived of a message, once something has: a small one `is_whole`, the rest of another is for `receive`.

    Raises:
        EOFError: The other end is gone.
        OSError: It was lost.
    """
    arrived = end.recv(2 * LARGE_BYTES)
    if not arrived:
        raise EOFError
    return arrived


def is_whole(arrived: bytes) -> bool:
    """Whether nothing of a message is still to come."""
    return len(arrived) >= _HEAD.size and _HEAD.unpack_from(arrived) == (len(arrived) - _HEAD.size, 0)


def receive(end: socket.socket, arrived: bytes = b"") -> Any:
    """Wait for a message; arrays in it may be read-only.

    Args:
        end: Where it comes.
        arrived: What of it was read before.

    Raises:
        EOFError: The other end is gone.
        TimeoutError: There was none for the time that `limit_wait` set.
        OSError: The other end was lost in the middle of one.
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
    """So many bytes, the first of them from what was read before; and what is left of that."""
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
    """Let `write` and `receive` wait no longer than so at an end.

    Not by the socket's own options: an event loop makes the sockets that it looks at return at once.
    """
    end.settimeout(seconds)
