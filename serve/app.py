"""The HTTP application: the routes of all protocols over the same servables."""

from fastapi import FastAPI

from pipelines.config.profile import Serve
from serve.access import Access
from serve.edge import HANDLERS, Edge
from serve.manager import ServableManager
from serve.metrics import Metrics
from serve.openapi import build_document
from serve.routes import pages, v1, v2
from serve.routes.table import build_routes
from serve.service import Service


def create_app(manager: ServableManager, settings: Serve) -> FastAPI:
    """Build the application.

    Args:
        manager: Its models; loaded before or after.
        settings: Limits.
    """
    metrics = Metrics()
    service = Service(manager, settings)
    app = FastAPI(
        title="Millrace",
        description="Predictions from the models in the store, by the protocols of TensorFlow Serving, KServe, Triton.",
        docs_url=None,
        redoc_url=None,
        exception_handlers=HANDLERS,
        redirect_slashes=False,
    )
    entries = [*v1.entries(service), *v2.entries(service), *pages.entries(service, metrics)]
    app.router.routes.extend(build_routes(entries, Access(settings)))
    app.openapi = lambda: build_document(app, entries, manager)  # type: ignore[method-assign] # FastAPI's own way
    app.add_middleware(
        Edge, metrics=metrics, is_draining=lambda: service.is_draining, logs_requests=settings.log_requests
    )
    app.state.service = service
    app.state.metrics = metrics
    return app
