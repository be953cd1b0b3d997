"""The table of routes.

The routes are plain Starlette routes: they read raw bodies and need no arguments or response models of FastAPI. A
request for one of them does not pass through FastAPI. Its layers, and matching one pattern after the other, would take
longer than everything else that a small request needs.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.routing import Match, Route
from starlette.types import Scope as ASGIScope

from serve.http.access import Access, Scope
from serve.http.responses import Reply

Endpoint = Callable[[Request], Awaitable[Reply]]


@dataclass(frozen=True)
class Entry:
    """One route.

    Attributes:
        method: The HTTP method; empty for all.
        path: Starlette's pattern.
        scope: The permission that the client needs.
        endpoint: The function that answers.
        is_shown: Whether the OpenAPI document lists it.
        is_any_case: Whether letters of the path may be upper case, too.
    """

    method: str
    path: str
    scope: Scope
    endpoint: Endpoint
    is_shown: bool = True
    is_any_case: bool = False


class PlainName(Convertor[str]):
    """A name or number in a path, without a colon: ``x:predict`` is not the name of a model."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        """Return the text of the path unchanged."""
        return value

    def to_string(self, value: str) -> str:
        """Return the value unchanged."""
        return value


class CountedRoute(Route):
    """A route that names itself in the scope also if only the method differs: a 405 is counted for its path."""

    def matches(self, scope: ASGIScope) -> tuple[Match, ASGIScope]:
        """As Starlette's, with the route in the scope's update."""
        match, found = super().matches(scope)
        if match != Match.NONE:
            found["route"] = self
        return match, found


KNOWN_PATHS: Final = 4096
"""Paths in the cache."""
LONGEST_KNOWN: Final = 256
"""Characters of the longest path in the cache. Clients choose the names in a path: they must not fill the memory."""
ANY = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


def build_routes(entries: list[Entry], access: Access) -> list[Route]:
    """The routes of a table, in the order in which they are matched."""
    register_url_convertor("plain", PlainName())
    return [_build_route(entry, access) for entry in entries]


def _build_route(entry: Entry, access: Access) -> Route:
    route = CountedRoute(entry.path, _guarded(entry, access), methods=[entry.method] if entry.method else list(ANY))
    if entry.is_any_case:
        route.path_regex = re.compile(route.path_regex.pattern, re.IGNORECASE)
    return route


class RouteTable:
    """Finds the route of a request. The route of a known, short path comes from a cache.

    Args:
        routes: In the order in which they are matched.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = tuple(routes)
        self._known = lru_cache(KNOWN_PATHS)(self._search)

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, Any]] | None:
        """The route for a method and a path, and the parameters in the path; None if there is none."""
        try:
            return self._known(method, path) if len(path) <= LONGEST_KNOWN else self._search(method, path)
        except LookupError:
            return None

    def _search(self, method: str, path: str) -> tuple[Route, Mapping[str, Any]]:
        for route in self._routes:
            match, found = route.matches({"type": "http", "method": method, "path": path})
            if match == Match.FULL:
                return route, found["path_params"]
        raise LookupError  # the cache keeps no errors


def _guarded(entry: Entry, access: Access) -> Endpoint:
    async def answer(request: Request) -> Reply:
        access.check(request.scope, entry.scope)
        return await entry.endpoint(request)

    return answer
