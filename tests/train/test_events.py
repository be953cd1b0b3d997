"""Events reach the driver while a rank works, and strangers do not."""

import multiprocessing
import threading
from multiprocessing.connection import Client
from typing import Any

import pytest

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
    assert events == [{"event": "step", "step": 1}, {"event": "last"}]


def test_a_stranger_with_another_key_is_refused_and_listening_goes_on() -> None:
    done = threading.Event()
    with listen("127.0.0.1", b"secret", lambda event: done.set()) as address:
        with pytest.raises(multiprocessing.AuthenticationError):
            Client((address.host, address.port), authkey=b"other")
        EventSender(address).send("hello")
        assert done.wait(10)


def test_a_driver_that_has_gone_away_does_not_fail_the_rank() -> None:
    with listen("127.0.0.1", b"secret", lambda event: None) as address:
        sender = EventSender(EventAddress(address.host, address.port, address.key))
    sender._connection.close()
    sender.send("step", step=2)


def test_output_keeps_the_last_lines() -> None:
    output = Output(keep=2)
    for piece in ("one\ntw", "o\n", "three\nfour"):
        output.write(piece)
    assert output.lines == ["three", "four"]
