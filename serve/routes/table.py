"""A protocol's routes as a table.

They are plain Starlette routes: the bodies are read raw, so that FastAPI's machinery for arguments and responses has
nothing to do in them.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope as ASGIScope

from serve.access import Access, Scope

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Entry:
    """One route.

    Attributes:
        method: Of HTTP; empty for any.
        path: Starlette's pattern.
        scope: What whoever asks needs.
        endpoint: Answers.
        is_shown: Whether it stands in the OpenAPI document.
    """

    method: str
    path: str
    scope: Scope
    endpoint: Endpoint
    is_shown: bool = True


class PlainName(Convertor[str]):
    """A name or number in a path. It has no colon: ``x:predict`` is no model, whatever the method."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        """As it stands."""
        return value

    def to_string(self, value: str) -> str:
        """As it stands."""
        return value


class ProtocolRoute(Route):
    """A route that says which one it is, for whoever counts requests."""

    def matches(self, scope: ASGIScope) -> tuple[Match, ASGIScope]:
        """Whether it is asked, and what that adds to the scope."""
        match, found = super().matches(scope)
        if match != Match.NONE:
            found["route"] = self
        return match, found


ANY = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


def build_routes(entries: list[Entry], access: Access) -> list[Route]:
    """The routes of a table, in its order, which is that of looking."""
    register_url_convertor("plain", PlainName())
    return [ProtocolRoute(e.path, _guarded(e, access), methods=[e.method] if e.method else list(ANY)) for e in entries]


def _guarded(entry: Entry, access: Access) -> Endpoint:
    async def answer(request: Request) -> Response:
        access.check(request.scope, entry.scope)
        return await entry.endpoint(request)

    return answer
