"""The HTTP application: the routes of all protocols over the same servables."""

from importlib import resources

from fastapi import APIRouter, FastAPI
from starlette.responses import Response

from pipelines.config.profile import Serve
from serve.edge import HANDLERS, Edge, json_response
from serve.manager import ServableManager
from serve.metrics import MEDIA_TYPE, Metrics
from serve.openapi import build_document
from serve.protocols.kserve_v1 import encode_alive
from serve.routes import v1, v2
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
    entries = [*v1.entries(service), *v2.entries(service)]
    app.router.routes.extend(build_routes(entries))
    app.include_router(_pages(service, metrics))
    app.openapi = lambda: build_document(app, entries, manager)  # type: ignore[method-assign] # FastAPI's own way
    app.add_middleware(Edge, metrics=metrics, is_draining=lambda: service.is_draining)
    app.state.service = service
    app.state.metrics = metrics
    return app


def _pages(service: Service, metrics: Metrics) -> APIRouter:
    """What belongs to no protocol's models."""
    router = APIRouter(default_response_class=Response)

    @router.get("/", include_in_schema=False)
    async def alive() -> Response:
        return json_response(encode_alive())

    @router.get("/metrics")
    async def counts() -> Response:
        """Counts for Prometheus."""
        return Response(metrics.render(service.statistics()), media_type=MEDIA_TYPE)

    @router.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        """A page that lists the routes and tries them; it loads nothing from other places."""
        return Response(resources.files("serve").joinpath("docs.html").read_bytes(), media_type="text/html")

    return router
