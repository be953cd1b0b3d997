"""Which request a log line belongs to: a request id, taken from the client or given to it, and W3C trace context."""

import itertools
import re
import secrets
from collections.abc import Iterable
from typing import Final

HEADER: Final = b"x-request-id"
TRACE: Final = b"traceparent"
_TAKEN: Final = re.compile(rb"[\x21-\x7e]{1,128}")
"""An id of a client: printable and short, so that no log line can be forged or filled with it."""
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
"""W3C Trace Context, 3.2: version, trace-id, parent-id, flags; later versions may add to it."""

_PREFIX: Final = secrets.token_hex(6)
_numbers: Final = itertools.count(1)


def new_id() -> str:
    """An id that no other request has: random for the process, counted within it."""
    return f"{_PREFIX}-{next(_numbers):x}"


def context_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """What the log lines of a request carry: ``request_id``, and ``trace_id`` and ``parent_id`` if it has a trace.

    Args:
        headers: Of the request, names in lower case.
    """
    context: dict[str, str] = {}
    for name, value in headers:
        if name == HEADER and _TAKEN.fullmatch(value):
            context["request_id"] = value.decode()
        elif name == TRACE and (found := _TRACEPARENT.fullmatch(value)) and not value.startswith(b"ff"):
            trace, parent = found[1].decode(), found[2].decode()
            if int(trace, 16) and int(parent, 16):
                context |= {"trace_id": trace, "parent_id": parent}
    if "request_id" not in context:
        context["request_id"] = new_id()
    return context
