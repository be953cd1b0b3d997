"""Routes of no protocol: liveness, metrics, and a page with the list of routes."""

from collections.abc import Awaitable, Callable
from importlib import resources

from starlette.requests import Request

from serve.http.responses import Reply
from serve.monitoring.metrics import MEDIA_TYPE
from serve.protocols.kserve_v1 import encode_alive
from serve.routes.table import Entry


class Endpoints:
    """The functions of the routes.

    Args:
        counts: Returns the page with the metrics.
    """

    def __init__(self, counts: Callable[[], Awaitable[bytes]]) -> None:
        self._counts = counts

    async def alive(self, _: Request) -> Reply:
        """Return that the server is alive, in KServe's form."""
        return Reply(encode_alive())

    async def counts(self, _: Request) -> Reply:
        """Return the metrics for Prometheus."""
        return Reply(await self._counts(), media_type=MEDIA_TYPE.encode())

    async def docs(self, _: Request) -> Reply:
        """Return a page that lists the routes and sends example requests. It loads nothing from other servers."""
        page = resources.files("serve").joinpath("docs.html").read_bytes()
        return Reply(page, media_type=b"text/html; charset=utf-8")


def entries(counts: Callable[[], Awaitable[bytes]]) -> list[Entry]:
    """The routes. The metrics have TensorFlow Serving's path, too."""
    endpoints = Endpoints(counts)
    return [
        Entry("GET", "/", "look", endpoints.alive, is_shown=False),
        Entry("GET", "/metrics", "look", endpoints.counts),
        Entry("GET", "/monitoring/prometheus/metrics", "look", endpoints.counts, is_shown=False),
        Entry("GET", "/docs", "look", endpoints.docs, is_shown=False),
    ]
