"""A model's process, seen from its connections."""

import multiprocessing
import os
import signal
import socket
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serve.errors import InferenceFailed
from serve.isolation.child import Load, main
from serve.isolation.pipe import pack, receive, write
from serve.servables.signatures import SERVING_DEFAULT
from tests.serve.isolation.servables import BUG, HANG, SIGNATURE, UNPICKLABLE, tricky, unless

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess


class Child:
    """A process and two connections to it."""

    def __init__(self, load: Load) -> None:
        ends = [socket.socketpair() for _ in range(2)]
        self.connections: list[Any] = [ours for ours, _ in ends]
        self.process: BaseProcess = multiprocessing.get_context("spawn").Process(
            target=main, args=(load, [theirs for _, theirs in ends]), daemon=True
        )
        self.process.start()
        for _, theirs in ends:
            theirs.close()

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        for connection in self.connections:
            connection.close()

    def tell(self, *values: float, by: int = 0) -> None:
        write(self.connections[by], pack((SERVING_DEFAULT, {"x": np.array(values, np.float32)}, len(values))))

    def ask(self, *values: float, by: int = 0) -> Any:
        self.tell(*values, by=by)
        return receive(self.connections[by])


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child(tricky)
    try:
        yield child
    finally:
        child.end()


def test_tells_what_it_loaded_then_answers(child: Child) -> None:
    loaded = receive(child.connections[0])
    assert (loaded.origin.label, loaded.signatures, loaded.joins) == ("tricky/1", {SERVING_DEFAULT: SIGNATURE}, True)
    for by in (0, 1, 1, 0):
        assert child.ask(1, 2, by=by)["y"].tolist() == [2, 4]


def test_errors_are_answers(child: Child) -> None:
    receive(child.connections[0])
    assert repr(child.ask(BUG)) == "ZeroDivisionError('a bug')"
    failed = child.ask(UNPICKLABLE)
    assert isinstance(failed, InferenceFailed)
    assert "Unpicklable: ab" in str(failed)
    assert child.ask(3)["y"].tolist() == [6]


def test_signals_to_the_group_do_not_end_it(child: Child) -> None:
    receive(child.connections[0])
    assert child.process.pid
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(child.process.pid, number)
        assert child.ask(3)["y"].tolist() == [6]


def test_ends_when_nobody_asks_any_more(child: Child) -> None:
    receive(child.connections[0])
    child.tell(HANG, by=1)
    child.connections[0].close()
    child.process.join(20)
    assert child.process.exitcode == 0


def test_what_cannot_be_loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    child = Child(partial(unless, str(tmp_path_factory.getbasetemp())))
    said = receive(child.connections[0])
    assert "a file is there" in str(said)
    child.process.join(20)
    assert child.process.exitcode == 0
    child.end()
