"""What belongs to no protocol: that the server lives, its counts, a page about its routes."""

from collections.abc import Awaitable, Callable
from importlib import resources

from starlette.requests import Request

from serve.http.responses import Reply
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

    async def alive(self, _: Request) -> Reply:
        """That the server lives, in KServe's words."""
        return Reply(encode_alive())

    async def counts(self, _: Request) -> Reply:
        """Counts for Prometheus."""
        return Reply(await self._counts(), media_type=MEDIA_TYPE.encode())

    async def docs(self, _: Request) -> Reply:
        """A page that lists the routes and tries them; it loads nothing from other places."""
        page = resources.files("serve").joinpath("docs.html").read_bytes()
        return Reply(page, media_type=b"text/html; charset=utf-8")


def entries(counts: Callable[[], Awaitable[bytes]]) -> list[Entry]:
    """The routes; Prometheus finds its counts where TensorFlow Serving has them, too."""
    endpoints = Endpoints(counts)
    return [
        Entry("GET", "/", "look", endpoints.alive, is_shown=False),
        Entry("GET", "/metrics", "look", endpoints.counts),
        Entry("GET", "/monitoring/prometheus/metrics", "look", endpoints.counts, is_shown=False),
        Entry("GET", "/docs", "look", endpoints.docs, is_shown=False),
    ]
