"""No request leaves a reference cycle behind, and no timer keeps what was dropped."""

import contextlib
import gc
import gzip
import logging
import os
import re
import signal
import socket
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from chaos.service.corpus import tensors
from chaos.service.wire import INFER, PREDICT, as_json, http
from millrace.config.sections.serve import Serve
from millrace.models.store import ModelStore
from millrace.storage import Store
from serve.garbage import forget_stack, weak_callback
from serve.isolation.parent import IsolatedServable
from serve.isolation.process import ProcessGroup
from serve.servables.manager import ServableManager
from serve.server.app import Application
from tests.serve import models
from tests.serve.client import listening
from tests.serve.models import POISON, ROW

COUNT = 200
Post = Callable[[int, bytes], None]


def predict(*rows: Any, headers: tuple[str, ...] = (), **more: Any) -> bytes:
    return http("POST", PREDICT, as_json({"instances": rows, **more}), *headers)


def infer(row: dict[str, Any] | None = None, *headers: str, **more: Any) -> bytes:
    return http("POST", INFER, as_json({"inputs": tensors(row), **more}), *headers)


def classify(*rows: Any, headers: tuple[str, ...] = (), **more: Any) -> bytes:
    return http("POST", "/v1/models/tiny:classify", as_json({"examples": rows, **more}), *headers)


GOOD = as_json({"instances": [ROW]})
BAD = {**ROW, "amount": POISON}
WRONG = {**ROW, "city": 5}
REPORT = {"parameters": {"on_row_error": "report"}}
SOON = "X-Request-Timeout-Ms: 2"

KINDS: dict[str, tuple[int, bytes]] = {
    "predict": (200, predict(ROW)),
    "predict, gzip": (
        200,
        http("POST", PREDICT, gzip.compress(GOOD), "Content-Encoding: gzip"),
    ),
    "classify": (200, classify(ROW)),
    "infer, binary": (200, infer(parameters={"binary_data_output": True})),
    "wrong value": (400, predict(WRONG)),
    "wrong tensor": (400, infer(WRONG)),
    "no finite answer": (400, predict(BAD)),
    "no JSON": (400, http("POST", PREDICT, b"{")),
    "no model": (404, http("POST", "/v2/models/other/infer", b"{}")),
    "row errors": (200, predict(ROW, BAD, WRONG, **REPORT)),
    "row errors of examples": (200, classify(ROW, BAD, WRONG, **REPORT)),
    "row errors of tensors": (200, infer(BAD, **REPORT)),
    "late at once": (504, infer(parameters={"timeout": 1})),
}
LATE: dict[str, tuple[int, bytes]] = {
    "late": (504, predict(ROW, headers=(SOON,))),
    "late example": (504, classify(ROW, headers=(SOON,))),
    "late tensor": (504, infer(None, SOON)),
}


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextlib.contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    os.kill(process.pid, signal.SIGSTOP)
    # The signal reaches a thread that is running on another core a moment later.
    threads = Path(f"/proc/{process.pid}/task")
    end = time.monotonic() + 20
    while any(") T " not in (each / "stat").read_text() for each in threads.iterdir()):
        assert time.monotonic() < end
        time.sleep(0.001)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


@contextlib.contextmanager
def connected(address: str) -> Iterator[Post]:
    """A connection: a function that sends a request and reads the whole response."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:

        def post(status: int, raw: bytes) -> None:
            connection.sendall(raw)
            received = connection.recv(65536)
            assert received.startswith(b"HTTP/1.1 %d " % status)
            head, _, body = received.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            assert length
            while len(body) < int(length[1]):
                body += connection.recv(65536)

        yield post


def leftovers(post: Post, kinds: dict[str, tuple[int, bytes]]) -> dict[str, int]:
    """Kinds of requests that leave something to the collector; a few objects are of TensorFlow and of the test."""
    found = {}
    for name, (status, raw) in kinds.items():
        for _ in range(3):
            post(status, raw)
        gc.collect()
        for _ in range(COUNT):
            post(status, raw)
        found[name] = gc.collect()
    return {name: count for name, count in found.items() if count >= COUNT / 2}


@pytest.mark.tf
def test_requests_leave_nothing_to_the_collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ModelStore(Store(str(tmp_path)))
    models.publish(store, "tiny", "binary")
    group = ProcessGroup()
    host = partial(IsolatedServable, answer_within_s=60.0, group=group)
    manager = ServableManager(store, models.served("tiny"), host=host)
    manager.load()
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)  # thousands of stacks
    loaded = manager.get("tiny")
    assert isinstance(loaded, IsolatedServable)
    process = psutil.Process(loaded.pid)
    del loaded
    try:
        with listening(Application(manager, Serve())) as address, without_collector():
            with connected(address) as post:
                assert leftovers(post, KINDS) == {}
                with stopped(process):
                    assert leftovers(post, LATE) == {}
            # Not even the errors of a version keep it: it ends without the collector.
            models.publish(store, "tiny", "binary", bias=1.0)
            assert manager.refresh("tiny") == "loaded"
            with connected(address) as post:
                post(*KINDS["predict"])
            process.wait(20)
    finally:
        group.end()


def test_an_error_without_its_stack() -> None:
    errors: list[BaseException] = []
    try:
        try:
            raise ValueError("cause")
        except ValueError as error:
            raise KeyError("effect") from error
    except KeyError as error:
        errors = [error, error.__cause__]  # type: ignore[list-item] # it has a cause
        forget_stack(error)
    assert [error.__traceback__ for error in errors] == [None, None]


def test_a_weak_callback_does_not_keep_its_object() -> None:
    class Counter:
        count = 0

        def add(self, number: int) -> None:
            self.count += number

    counter = Counter()
    call, reference = weak_callback(counter.add), weakref.ref(counter)
    call(2)
    assert counter.count == 2
    with without_collector():
        del counter
        assert reference() is None
    call(2)
