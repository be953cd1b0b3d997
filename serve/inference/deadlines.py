"""When a client stops waiting for its answer, if it says so: then nothing is computed for it any more.

By a header, in milliseconds; or by the parameter ``timeout`` of the Open Inference Protocol, in microseconds as Triton
reads it (``docs/protocol/extension_schedule_policy.md``).
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from serve.errors import InvalidRequest
from serve.values.document import describe

HEADERS: Final = {
    b"x-request-timeout-ms": "X-Request-Timeout-Ms",
    b"x-envoy-expected-rq-timeout-ms": "X-Envoy-Expected-Rq-Timeout-Ms",
}
"""The second is what Envoy, and meshes built on it, tell whom they pass a request on to."""
PARAMETER: Final = "timeout"
MAX_DIGITS: Final = 9
"""Of milliseconds: more than a week, which no answer takes."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """When an answer is late.

    Attributes:
        at: By the event loop's clock.
        seconds: How long there was, for the message.
    """

    at: float
    seconds: float


def header_deadline(headers: Iterable[tuple[bytes, bytes]]) -> Deadline | None:
    """What a request's headers say, counted from now.

    Args:
        headers: Names in lower case.

    Raises:
        InvalidRequest: No whole number of milliseconds above 0.
    """
    for name, value in headers:
        if name in HEADERS:
            if not value.isdigit() or len(value) > MAX_DIGITS or not int(value):
                found = describe(value.decode("latin-1"))
                raise InvalidRequest(f"{HEADERS[name]}: expected a whole number of milliseconds above 0, found {found}")
            return _within(int(value) / 1e3)
    return None


def parameter_deadline(parameters: Any, other: Deadline | None) -> Deadline | None:
    """What a request's parameters say, or its headers, whichever is sooner.

    Raises:
        InvalidRequest: No whole number of microseconds.
    """
    value = parameters.get(PARAMETER, 0) if isinstance(parameters, dict) else 0
    if type(value) is not int or not 0 <= value < 10 ** (MAX_DIGITS + 3):
        raise InvalidRequest(
            f"parameters: {PARAMETER}: expected a whole number of microseconds, or 0 for none, found {describe(value)}"
        )
    if value == 0:
        return other
    mine = _within(value / 1e6)
    return mine if other is None or mine.at < other.at else other


def _within(seconds: float) -> Deadline:
    return Deadline(asyncio.get_running_loop().time() + seconds, seconds)
