"""Messages between the server and a model's process."""

import multiprocessing
import threading
import time
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from serve.isolation.pipe import LARGE_BYTES, limit_wait, receive, send

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


def test_arrays_arrive_as_they_were() -> None:
    near, far = multiprocessing.Pipe()
    sender = threading.Thread(target=lambda: [send(near, ("name", ARRAYS, None)), send(near, "next")])
    sender.start()
    name, arrays, rows = receive(far)
    assert (name, rows, receive(far)) == ("name", None, "next")
    sender.join()
    for what, values in ARRAYS.items():
        assert arrays[what].dtype == values.dtype, what
        np.testing.assert_array_equal(arrays[what], values, strict=True)


def test_only_large_arrays_travel_by_themselves() -> None:
    near, far = multiprocessing.Pipe()
    counts = []
    for array in (np.zeros(LARGE_BYTES - 1, np.uint8), np.zeros(LARGE_BYTES, np.uint8)):
        sender = threading.Thread(target=send, args=(near, {"x": array}))
        sender.start()
        pieces: list[Any] = [far.recv_bytes()]
        sender.join(0.2)
        while far.poll(0.1):
            pieces.append(far.recv_bytes())
        sender.join()
        counts.append(len(pieces))
    assert counts == [1, 2]


def test_nobody_there() -> None:
    near, far = multiprocessing.Pipe()
    near.close()
    with pytest.raises(EOFError):
        receive(far)
    with pytest.raises(OSError, match="Broken pipe"):
        send(far, 1)


def test_waits_no_longer_than_told() -> None:
    near, far = multiprocessing.Pipe()
    limit_wait(far, 0.2)
    started = time.monotonic()
    with pytest.raises(BlockingIOError):
        receive(far)
    assert time.monotonic() - started >= 0.2
    send(near, "late, but there")
    assert receive(far) == "late, but there"
