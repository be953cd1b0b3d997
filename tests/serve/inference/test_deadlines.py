"""When clients stop waiting."""

import asyncio
from typing import Any

import pytest

from serve.errors import InvalidRequest
from serve.inference.deadlines import Deadline, header_deadline, parameter_deadline


def from_headers(*headers: tuple[bytes, bytes]) -> float | None:
    """Seconds, as headers say them."""

    async def read() -> float | None:
        now = asyncio.get_running_loop().time()
        found = header_deadline(headers)
        if found:
            assert found.at - now == pytest.approx(found.seconds, abs=0.1)
        return found.seconds if found else None

    return asyncio.run(read())


def test_headers() -> None:
    assert from_headers((b"content-type", b"x"), (b"x-request-timeout-ms", b"1500")) == 1.5
    assert from_headers((b"x-envoy-expected-rq-timeout-ms", b"7")) == 0.007
    assert from_headers((b"x-other", b"7")) is None


@pytest.mark.parametrize("value", [b"", b"0", b"-1", b"1.5", b"1s", b"9" * 10, "²".encode("latin-1"), b"\xff"])
def test_what_is_no_time(value: bytes) -> None:
    with pytest.raises(InvalidRequest, match="X-Request-Timeout-Ms: expected a whole number of milliseconds above 0"):
        from_headers((b"x-request-timeout-ms", value))


def from_parameters(parameters: Any, other: float | None = None) -> float | None:
    async def read() -> float | None:
        now = asyncio.get_running_loop().time()
        found = parameter_deadline(parameters, Deadline(now + other, other) if other else None)
        return found.seconds if found else None

    return asyncio.run(read())


def test_parameters() -> None:
    assert from_parameters({"timeout": 250_000}) == 0.25
    assert from_parameters({"timeout": 250_000}, other=0.1) == 0.1
    assert from_parameters({"timeout": 250_000}, other=9.0) == 0.25
    assert from_parameters({"timeout": 0}, other=9.0) == 9.0
    assert from_parameters({}) is None
    assert from_parameters(None) is None


@pytest.mark.parametrize("value", [-1, 1.5, "1", True, None, 10**12])
def test_parameters_that_are_no_time(value: Any) -> None:
    with pytest.raises(InvalidRequest, match="timeout: expected a whole number of microseconds"):
        from_parameters({"timeout": value})
