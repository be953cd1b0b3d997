"""The time at which a client stops waiting for its answer. From then on nothing is computed for the request."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from serve.errors import InvalidRequest
from serve.values.document import describe

PARAMETER: Final = "timeout"
"""Of the Open Inference Protocol, in microseconds (Triton's ``docs/protocol/extension_schedule_policy.md``)."""
MAX_MICROSECONDS: Final = 10**12
"""More than a week, not included."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """When an answer is too late.

    Attributes:
        at: By the clock of the event loop.
        seconds: How long the client waits, for the message.
    """

    at: float
    seconds: float


def deadline_in(seconds: float | None) -> Deadline | None:
    """The deadline that many seconds from now; none if the client set no timeout."""
    return None if seconds is None else Deadline(asyncio.get_running_loop().time() + seconds, seconds)


def parameter_deadline(parameters: Any, other: Deadline | None) -> Deadline | None:
    """The deadline of a request's parameters or the other one, whichever is sooner.

    Raises:
        InvalidRequest: The parameter is not a whole number of microseconds.
    """
    value = parameters.get(PARAMETER, 0) if isinstance(parameters, dict) else 0
    if type(value) is not int or not 0 <= value < MAX_MICROSECONDS:
        raise InvalidRequest(
            f"parameters: {PARAMETER}: expected a whole number of microseconds, or 0 for none, found {describe(value)}"
        )
    if value == 0:
        return other
    mine = deadline_in(value / 1e6)
    return mine if mine and (other is None or mine.at < other.at) else other
