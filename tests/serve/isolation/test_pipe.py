"""Messages between the server and a model's process."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from serve.isolation.pipe import LARGE_BYTES, is_whole, limit_wait, pack, read_now, receive, write

ARRAYS = {
    "small": np.arange(5),
    "large": np.arange(LARGE_BYTES, dtype=np.float64).reshape(2, -1),
    "turned": np.arange(LARGE_BYTES, dtype=np.float64).reshape(2, -1).T,
    "every second": np.arange(LARGE_BYTES)[::2],
    "strings": np.array([b"", b"\xff\x00", "ø".encode()], object),
    "bfloat16": np.ones(LARGE_BYTES, ml_dtypes.bfloat16),
    "none": np.zeros((0, 3), np.float32),
    "one": np.float32(3).reshape(()),
}


def send(end: socket.socket, message: Any) -> None:
    write(end, pack(message))


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


@pytest.mark.parametrize("known", [0, 1, 11, 12, 5000, LARGE_BYTES])
def test_arrays_arrive_as_they_were(ends: tuple[socket.socket, socket.socket], known: int) -> None:
    near, far = ends
    sender = threading.Thread(target=send, args=(near, ("name", ARRAYS, None)))
    sender.start()
    arrived = far.recv(known, socket.MSG_WAITALL) if known else b""
    name, arrays, rows = receive(far, arrived)
    assert (name, rows) == ("name", None)
    sender.join()
    send(near, "next")
    assert receive(far) == "next"
    for what, values in ARRAYS.items():
        assert arrays[what].dtype == values.dtype, what
        np.testing.assert_array_equal(arrays[what], values, strict=True)


def test_only_large_arrays_travel_by_themselves() -> None:
    for size, large in ((LARGE_BYTES - 1, 0), (LARGE_BYTES, 1)):
        assert len(pack({"x": np.zeros(size, np.uint8)}).large) == large
    assert not pack({"x": np.zeros(LARGE_BYTES, np.uint8)}).is_small
    assert not pack(b"x" * LARGE_BYTES).is_small


def test_a_small_message_is_taken_and_read_at_once(ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    near.setblocking(False)  # whoever would have to wait raises
    message = pack(b"x" * (LARGE_BYTES - 100))
    assert message.is_small
    write(near, message)
    arrived = read_now(far)
    assert is_whole(arrived)
    assert len(receive(far, arrived)) == LARGE_BYTES - 100


def test_a_part_is_not_taken_for_the_whole() -> None:
    for message in ("small", {"x": np.zeros(LARGE_BYTES, np.uint8)}):
        body = pack(message).body
        assert not any(is_whole(body[:length]) for length in range(len(body)))
        assert is_whole(body) == (message == "small")


def test_nobody_there(ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    near.sendall(pack("some of it").body[:20])
    near.close()
    with pytest.raises(EOFError):
        receive(far)
    with pytest.raises(EOFError):
        receive(far, pack({"x": np.zeros(LARGE_BYTES, np.uint8)}).body)
    with pytest.raises(EOFError):
        read_now(far)
    with pytest.raises(OSError, match="Broken pipe"):
        send(far, 1)


def test_waits_no_longer_than_told(ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    limit_wait(far, 0.2)
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        receive(far)
    with pytest.raises(TimeoutError):
        send(far, np.zeros(10_000_000))
    assert time.monotonic() - started >= 0.4
    send(near, "late, but there")
    assert receive(far) == "late, but there"
