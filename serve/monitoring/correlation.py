"""The ids of a request for its log lines: a request id, from the client or new, and W3C trace context."""

import itertools
import re
import secrets
from collections.abc import Iterable
from typing import Final

HEADER: Final = b"x-request-id"
TRACE: Final = b"traceparent"
_ACCEPTED: Final = re.compile(rb"[\x21-\x7e]{1,128}")
"""A valid id from a client: printable and short, so that it cannot forge or flood log lines."""
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
"""W3C Trace Context, 3.2: version, trace-id, parent-id, flags; later versions may have more fields."""

_PREFIX: Final = secrets.token_hex(6)
_numbers: Final = itertools.count(1)


def new_id() -> str:
    """A unique request id: a random prefix per process, and a counter."""
    return f"{_PREFIX}-{next(_numbers):x}"


def context_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The fields for the log lines of a request: ``request_id``, and ``trace_id`` and ``parent_id`` if it has a trace.

    Args:
        headers: The request's headers, names in lower case.
    """
    context: dict[str, str] = {}
    for name, value in headers:
        if name == HEADER and _ACCEPTED.fullmatch(value):
            context["request_id"] = value.decode()
        elif name == TRACE and (found := _TRACEPARENT.fullmatch(value)) and not value.startswith(b"ff"):
            trace, parent = found[1].decode(), found[2].decode()
            if int(trace, 16) and int(parent, 16):
                context |= {"trace_id": trace, "parent_id": parent}
    if "request_id" not in context:
        context["request_id"] = new_id()
    return context
