"""Events reach the driver while a rank works, and strangers do not."""

import contextlib
import logging
import multiprocessing
import socket
import threading
from multiprocessing.connection import Client
from typing import Any

import pytest

from train import events as module
from train.events import EventAddress, EventSender, Output, listen


def test_events_arrive_in_order_and_with_their_fields() -> None:
    events: list[dict[str, Any]] = []
    done = threading.Event()

    def take(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "last":
            done.set()

    with listen("127.0.0.1", b"secret", take) as address:
        sender = EventSender(address)
        sender.send("step", step=1)
        sender.send("last")
        assert done.wait(10)
        sender.close()
    assert events == [{"event": "step", "step": 1}, {"event": "last"}]


def test_a_stranger_with_another_key_is_refused_and_listening_goes_on() -> None:
    done = threading.Event()
    with listen("127.0.0.1", b"secret", lambda event: done.set()) as address:
        with pytest.raises(multiprocessing.AuthenticationError):
            Client((address.host, address.port), authkey=b"other")
        EventSender(address).send("hello")
        assert done.wait(10)


@pytest.mark.case("B16")
@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x7f\xff\xff\xff"])
def test_a_connection_that_does_not_authenticate_stops_nobody(sent: bytes) -> None:
    done = threading.Event()
    with listen("127.0.0.1", b"secret", lambda event: done.set()) as address, contextlib.ExitStack() as stack:
        for _ in range(20):
            stranger = stack.enter_context(socket.create_connection((address.host, address.port), timeout=10))
            stranger.sendall(sent)
        EventSender(address).send("hello")
        assert done.wait(5)


class Aborted(socket.socket):
    """A listening socket whose first connection fails, as Linux reports an error of a connection in its queue."""

    failed = False

    def accept(self) -> tuple[socket.socket, Any]:
        if not self.failed:
            self.failed = True
            raise ConnectionAbortedError("aborted")
        return super().accept()


@pytest.mark.case("B16")
def test_a_connection_that_fails_in_the_queue_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(address: tuple[str, int]) -> socket.socket:
        server = Aborted()
        server.bind(address)
        server.listen()
        return server

    monkeypatch.setattr(socket, "create_server", create)
    done = threading.Event()
    with listen("127.0.0.1", b"secret", lambda event: done.set()) as address:
        sender = EventSender(address)
        sender.send("hello")
        assert done.wait(5)
        sender.close()


@pytest.mark.case("B16")
def test_a_silent_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANDSHAKE_S", 0.2)
    with listen("127.0.0.1", b"secret", lambda event: None) as address:
        with socket.create_connection((address.host, address.port), timeout=10) as stranger:
            while stranger.recv(1024):
                pass


@pytest.mark.case("B17")
def test_an_event_that_cannot_be_handled_does_not_stop_the_next(caplog: pytest.LogCaptureFixture) -> None:
    events: list[str] = []

    def take(event: dict[str, Any]) -> None:
        if event["event"] == "epoch":
            raise OSError("no space left")
        events.append(event["event"])

    with caplog.at_level(logging.WARNING), listen("127.0.0.1", b"secret", take) as address:
        sender = EventSender(address)
        for name in ("step", "epoch", "error"):
            sender.send(name)
        sender.close()
    assert events == ["step", "error"]
    assert "event 'epoch' of a rank was not handled: no space left" in caplog.text


@pytest.mark.case("B17")
def test_slow_handling_neither_stops_a_rank_nor_loses_its_last_events() -> None:
    events: list[int] = []
    begin = threading.Event()

    def take(event: dict[str, Any]) -> None:
        assert begin.wait(60)
        events.append(event["number"])

    with listen("127.0.0.1", b"secret", take) as address:
        sender = EventSender(address)
        for number in range(2_000):  # more than the buffers of both sockets hold
            sender.send("step", number=number, text="x" * 10_000)
        sender.close()
        begin.set()
    assert events == list(range(2_000))


def test_a_driver_that_has_gone_away_does_not_fail_the_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAIN_S", 0.1)
    with listen("127.0.0.1", b"secret", lambda event: None) as address:
        sender = EventSender(EventAddress(address.host, address.port, address.key))
    sender.close()
    sender.send("step", step=2)


def test_output_keeps_the_last_lines() -> None:
    output = Output(keep=2)
    for piece in ("one\ntw", "o\n", "three\nfour"):
        output.write(piece)
    assert output.lines == ["three", "four"]


def test_output_without_line_ends_is_kept_in_part() -> None:
    output = Output()
    for number in range(300):
        output.write(f"\r{number}: " + "=" * 10_000)
    assert sum(map(len, output.lines)) <= 400 * 2_000
    assert output.lines[-1].endswith("=")
