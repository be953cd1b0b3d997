"""What the server and a model's process tell each other.

Both ends are the same program, so the messages are pickled. Small arrays travel inside the message, which is one system
call; large ones behind it, from and into their own memory.
"""

import pickle
import socket
import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

LARGE_BYTES: Final = 65_536
"""From this size on an array travels by itself."""
_COUNT: Final = struct.Struct("<I")


def send(connection: "Connection[Any, Any]", message: Any) -> None:
    """Send a message.

    Raises:
        BlockingIOError: Nobody has read it for the time that `limit_wait` set.
        OSError: Nobody is there to read it.
    """
    large: list[pickle.PickleBuffer] = []

    def stays_inside(buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes < LARGE_BYTES:
            return True
        large.append(buffer)
        return False

    head = pickle.dumps(message, protocol=5, buffer_callback=stays_inside)
    connection.send_bytes(_COUNT.pack(len(large)) + head)
    for buffer in large:
        connection.send_bytes(buffer.raw())


def receive(connection: "Connection[Any, Any]") -> Any:
    """Wait for a message; arrays in it may be read-only.

    Raises:
        EOFError: The other end is gone.
        BlockingIOError: There was none for the time that `limit_wait` set.
        OSError: The other end was lost in the middle of one.
    """
    message = connection.recv_bytes()
    large = [connection.recv_bytes() for _ in range(_COUNT.unpack_from(message)[0])]
    return pickle.loads(memoryview(message)[_COUNT.size :], buffers=large)  # noqa: S301 - from our own process


def limit_wait(connection: "Connection[Any, Any]", seconds: float) -> None:
    """Let `send` and `receive` wait no longer than so at an end of a duplex pipe."""
    whole, rest = divmod(seconds, 1)
    with socket.fromfd(connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as end:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            end.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", int(whole), int(rest * 1e6)))
