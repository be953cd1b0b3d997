"""The HTTP application: the routes of all protocols over the same servables."""

import asyncio

from fastapi import FastAPI

from millrace.config.sections.serve import Serve
from serve.http.access import Access
from serve.http.cors import CrossOrigin
from serve.http.edge import HANDLERS, Edge
from serve.http.requests import BodyReader
from serve.inference.service import Service
from serve.monitoring.merged_metrics import SharedPages
from serve.monitoring.metrics import Metrics
from serve.routes import pages, v1, v2
from serve.routes.table import RouteTable, build_routes
from serve.servables.manager import ServableManager
from serve.server.openapi import build_document


class Application(Edge):
    """The application: an ASGI callable.

    Args:
        manager: The models; loaded before or after.
        settings: The limits.
        shared: The metrics of other workers, if there are several.

    Attributes:
        service: Runs the predictions.
        metrics: Counts the requests.
        openapi: Returns the OpenAPI document.
    """

    def __init__(self, manager: ServableManager, settings: Serve, shared: SharedPages | None = None) -> None:
        self._shared = shared
        self.metrics = Metrics()
        self.service = Service(manager, settings)
        app = FastAPI(
            title="Millrace",
            description="Predictions from the models in the store, by the protocols of TensorFlow Serving, KServe, "
            "Triton.",
            docs_url=None,
            redoc_url=None,
            exception_handlers=HANDLERS,
            redirect_slashes=False,
        )
        admission = self.service.admission
        self._bodies = BodyReader(settings.max_body_mb * 2**20, admission.arriving.enter, admission.unpacking.enter)
        entries = [
            *v1.entries(self.service, self._bodies),
            *v2.entries(self.service, self._bodies),
            *pages.entries(self.counts),
        ]
        routes = build_routes(entries, Access(settings))
        # FastAPI needs them, too: it answers 405 with the methods of a path.
        app.router.routes.extend(routes)
        app.openapi = lambda: build_document(app, entries, manager)  # type: ignore[method-assign] # FastAPI's own way
        self.openapi = app.openapi
        super().__init__(
            app,
            RouteTable(routes).find,
            self.metrics,
            is_draining=lambda: self.service.is_draining,
            logs_requests=settings.log_requests,
            cors=CrossOrigin(settings.cors_origins) if settings.cors_origins else None,
        )

    def close(self) -> None:
        """Stop the threads."""
        self._bodies.close()
        self.service.close()

    async def counts(self) -> bytes:
        """The page with the metrics, of all workers."""
        page = await self._render()
        return await asyncio.to_thread(self._shared.merged, page) if self._shared else page

    async def share_counts(self) -> None:
        """Write the metrics of this worker to a file for the others."""
        if self._shared:
            await asyncio.to_thread(self._shared.write, await self._render())

    async def _render(self) -> bytes:
        manager = self.service.manager
        ready = {name: bool(manager.all_loaded(name)) for name in manager.names}
        return await asyncio.to_thread(self.metrics.render, self.service.statistics(), ready, manager.failed)
