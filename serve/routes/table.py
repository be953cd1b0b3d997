"""A protocol's routes as a table.

They are plain Starlette routes: the bodies are read raw, so that FastAPI's machinery for arguments and responses has
nothing to do in them. A request for one of them does not pass FastAPI at all: going through its layers and looking for
the route one pattern after the other takes longer than everything else that a small request needs.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.routing import Match, Route

from serve.http.access import Access, Scope
from serve.http.responses import Reply

Endpoint = Callable[[Request], Awaitable[Reply]]


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


KNOWN_ADDRESSES: Final = 4096
"""Of those asked last; whoever invents new ones only makes others be matched again."""
ANY = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


def build_routes(entries: list[Entry], access: Access) -> list[Route]:
    """The routes of a table, in its order, which is that of looking."""
    register_url_convertor("plain", PlainName())
    return [Route(e.path, _guarded(e, access), methods=[e.method] if e.method else list(ANY)) for e in entries]


class RouteTable:
    """Finds a request's route at once: an address that was asked before is looked up, not matched.

    Args:
        routes: In the order of looking.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = tuple(routes)
        self.find = lru_cache(KNOWN_ADDRESSES)(self._find)

    def _find(self, method: str, path: str) -> tuple[Route, Mapping[str, Any]] | None:
        """The route that takes a method at a path, and the parameters in the path; None if there is no such."""
        for route in self._routes:
            match, found = route.matches({"type": "http", "method": method, "path": path})
            if match == Match.FULL:
                return route, found["path_params"]
        return None


def _guarded(entry: Entry, access: Access) -> Endpoint:
    async def answer(request: Request) -> Reply:
        access.check(request.scope, entry.scope)
        return await entry.endpoint(request)

    return answer
