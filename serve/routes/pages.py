"""What belongs to no protocol: that the server lives, its counts, a page about its routes."""

from collections.abc import Awaitable, Callable
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response

from serve.http.edge import json_response
from serve.monitoring.metrics import MEDIA_TYPE
from serve.protocols.kserve_v1 import encode_alive
from serve.routes.table import Entry


class Endpoints:
    """The calls behind the routes.

    Args:
        counts: Writes the metrics' page.
    """

    def __init__(self, counts: Callable[[], Awaitable[bytes]]) -> None:
        self._counts = counts

    async def alive(self, _: Request) -> Response:
        """That the server lives, in KServe's words."""
        return json_response(encode_alive())

    async def counts(self, _: Request) -> Response:
        """Counts for Prometheus."""
        return Response(await self._counts(), media_type=MEDIA_TYPE)

    async def docs(self, _: Request) -> Response:
        """A page that lists the routes and tries them; it loads nothing from other places."""
        return Response(resources.files("serve").joinpath("docs.html").read_bytes(), media_type="text/html")


def entries(counts: Callable[[], Awaitable[bytes]]) -> list[Entry]:
    """The routes; Prometheus finds its counts where TensorFlow Serving has them, too."""
    endpoints = Endpoints(counts)
    return [
        Entry("GET", "/", "look", endpoints.alive, is_shown=False),
        Entry("GET", "/metrics", "look", endpoints.counts),
        Entry("GET", "/monitoring/prometheus/metrics", "look", endpoints.counts, is_shown=False),
        Entry("GET", "/docs", "look", endpoints.docs, is_shown=False),
    ]
