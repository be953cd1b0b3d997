"""What belongs to no protocol: that the server lives, its counts, a page about its routes."""

from importlib import resources

from starlette.requests import Request
from starlette.responses import Response

from serve.edge import json_response
from serve.metrics import MEDIA_TYPE, Metrics
from serve.protocols.kserve_v1 import encode_alive
from serve.routes.table import Entry
from serve.service import Service


class Endpoints:
    """The calls behind the routes.

    Args:
        service: The models.
        metrics: What is counted.
    """

    def __init__(self, service: Service, metrics: Metrics) -> None:
        self._service = service
        self._metrics = metrics

    async def alive(self, _: Request) -> Response:
        """That the server lives, in KServe's words."""
        return json_response(encode_alive())

    async def counts(self, _: Request) -> Response:
        """Counts for Prometheus."""
        return Response(self._metrics.render(self._service.statistics()), media_type=MEDIA_TYPE)

    async def docs(self, _: Request) -> Response:
        """A page that lists the routes and tries them; it loads nothing from other places."""
        return Response(resources.files("serve").joinpath("docs.html").read_bytes(), media_type="text/html")


def entries(service: Service, metrics: Metrics) -> list[Entry]:
    """The routes; Prometheus finds its counts where TensorFlow Serving has them, too."""
    endpoints = Endpoints(service, metrics)
    return [
        Entry("GET", "/", "look", endpoints.alive, is_shown=False),
        Entry("GET", "/metrics", "look", endpoints.counts),
        Entry("GET", "/monitoring/prometheus/metrics", "look", endpoints.counts, is_shown=False),
        Entry("GET", "/docs", "look", endpoints.docs, is_shown=False),
    ]
