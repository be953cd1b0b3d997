"""Routes from a table."""

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Match

from millrace.config.sections.serve import Serve
from serve.errors import Forbidden
from serve.http.access import Access
from serve.http.edge import HANDLERS
from serve.routes.table import ANY, Entry, RouteTable, build_routes


async def echo(request: Request) -> Response:
    return PlainTextResponse(f"{request.scope['route'].path_format} {request.path_params}")


async def ask(method: str, path: str) -> httpx.Response:
    entries = [
        Entry("GET", "/a/{name:plain}", "look", echo),
        Entry("GET", "/a/{name:plain}:do", "look", echo),
        Entry("", "/b", "predict", echo),
        Entry("GET", "/c", "control", echo),
    ]
    app = Starlette(routes=build_routes(entries, Access(Serve())), exception_handlers=HANDLERS)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path)


def test_names_have_no_colon_and_a_route_says_which_it_is() -> None:
    assert asyncio.run(ask("GET", "/a/x")).text == "/a/{name} {'name': 'x'}"
    assert asyncio.run(ask("GET", "/a/x:do")).text == "/a/{name}:do {'name': 'x'}"
    assert asyncio.run(ask("GET", "/a/x:other")).status_code == 404
    assert asyncio.run(ask("POST", "/a/x")).status_code == 405
    assert {asyncio.run(ask(method, "/b")).status_code for method in ANY} == {200}


def test_a_405_is_counted_for_its_path() -> None:
    (route,) = build_routes([Entry("GET", "/a/{name:plain}", "look", echo)], Access(Serve()))
    match, found = route.matches({"type": "http", "method": "POST", "path": "/a/x"})
    assert (match, found["route"]) == (Match.PARTIAL, route)


def test_a_route_needs_its_scope() -> None:
    answer = asyncio.run(ask("GET", "/c"))
    assert answer.status_code == 403
    assert "serve.model_control: true" in answer.json()["error"]


def test_an_address_is_matched_once() -> None:
    routes = build_routes(
        [Entry("GET", "/a/{name:plain}", "look", echo), Entry("", "/b", "look", echo)], Access(Serve())
    )
    table = RouteTable(routes)
    for _ in range(3):
        assert table.find("GET", "/a/x") == (routes[0], {"name": "x"})
        assert table.find("PATCH", "/b") == (routes[1], {})
        assert table.find("POST", "/a/x") is None
        assert table.find("GET", "/c") is None
    assert (table._known.cache_info().currsize, table._known.cache_info().hits) == (2, 4)


@pytest.mark.case("B22")
def test_the_paths_that_clients_invent_are_not_kept() -> None:
    routes = build_routes([Entry("GET", "/a/{name:plain}", "look", echo)], Access(Serve()))
    table = RouteTable(routes)
    long = "x" * 1000
    for number in range(100):
        assert table.find("GET", f"/nothing/{number}") is None
        assert table.find("GET", f"/a/{long}{number}") == (routes[0], {"name": f"{long}{number}"})
        assert table.find("GET", "/a/short") == (routes[0], {"name": "short"})
    assert table._known.cache_info().currsize == 1


def test_everybody_may_look_and_predict() -> None:
    access = Access(Serve())
    access.check({}, "look")
    access.check({}, "predict")
    with pytest.raises(Forbidden) as caught:
        access.check({}, "control")
    assert "serve.model_control: true" in str(caught.value)


def test_everybody_may_control_where_the_settings_say_so() -> None:
    Access(Serve(model_control=True)).check({}, "control")
