"""Ids of requests and traces."""

import pytest

from serve.monitoring.correlation import context_of

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def test_an_id_is_taken_or_given() -> None:
    assert context_of([(b"host", b"x"), (b"x-request-id", b"mine/1")]) == {"request_id": "mine/1"}
    given = [context_of([])["request_id"] for _ in range(1000)]
    assert len(set(given)) == 1000


@pytest.mark.parametrize("value", [b"", b"two words", b"line\nbreak", b"\xff", b"x" * 129])
def test_an_id_that_would_spoil_a_log_is_replaced(value: bytes) -> None:
    assert context_of([(b"x-request-id", value)])["request_id"].encode() != value


@pytest.mark.parametrize("value", [f"00-{TRACE}-{PARENT}-01", f"01-{TRACE}-{PARENT}-00-more"])
def test_a_trace(value: str) -> None:
    found = context_of([(b"traceparent", value.encode())])
    assert (found["trace_id"], found["parent_id"]) == (TRACE, PARENT)


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}0-{PARENT}-01",
    ],
)
def test_no_trace(value: str) -> None:
    assert context_of([(b"traceparent", value.encode())]).keys() == {"request_id"}
