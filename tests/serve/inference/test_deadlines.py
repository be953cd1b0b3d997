"""When clients stop waiting."""

import asyncio
from typing import Any

import pytest

from serve.errors import InvalidRequest
from serve.inference.deadlines import Deadline, deadline_in, parameter_deadline


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


def test_a_deadline_counts_from_now() -> None:
    async def read() -> tuple[float, Deadline | None]:
        return asyncio.get_running_loop().time(), deadline_in(1.5)

    now, found = asyncio.run(read())
    assert found
    assert (found.seconds, found.at - now) == (1.5, pytest.approx(1.5, abs=0.1))
    assert deadline_in(None) is None
