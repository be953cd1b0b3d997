"""The HTTP application: routes of a few lines over the servables."""

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response

from pipelines.config.profile import Serve
from serve.edge import HANDLERS, Edge, error_response, json_response, read_body
from serve.errors import InvalidRequest
from serve.manager import ServableManager
from serve.metrics import MEDIA_TYPE, Metrics
from serve.openapi import describe_responses, describe_route
from serve.protocols import tfs
from serve.protocols.values import dump_json
from serve.servable import Servable

MAX_DIGITS: Final = 18
"""Of a version number; it fits an int64."""
INFER_THREADS: Final = max(2, min(8, os.cpu_count() or 2))
"""Requests that are decoded, answered and encoded at the same time; the others wait."""


class Endpoints:
    """What the routes call; each is one hand-over to a worker thread.

    Args:
        manager: The loaded models.
        settings: Limits.
        metrics: Where rows are counted.
    """

    def __init__(self, manager: ServableManager, settings: Serve, metrics: Metrics) -> None:
        self._manager = manager
        self._metrics = metrics
        self._max_body = settings.max_body_mb * 1024 * 1024
        self._workers = ThreadPoolExecutor(INFER_THREADS, thread_name_prefix="infer")
        # Loading takes seconds: in a thread of its own it never stands before a prediction.
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")

    def close(self) -> None:
        """Let go of the threads."""
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._loader.shutdown(wait=False, cancel_futures=True)

    async def predict(self, request: Request) -> Response:
        """Answer for the rows in the body."""
        servable = await self._servable(request)
        body = await read_body(request, self._max_body)
        loop = asyncio.get_running_loop()
        return json_response(await loop.run_in_executor(self._workers, self._predict, servable, body))

    async def models(self) -> Response:
        """Names of the models served."""
        return json_response(dump_json({"models": list(self._manager.names)}))

    async def status(self, request: Request) -> Response:
        """How the versions of a model stand."""
        loop = asyncio.get_running_loop()
        name, number = target_of(request)
        found = await loop.run_in_executor(self._loader, self._manager.status, name, number)
        versions = [(v.version, v.state, v.message) for v in found]
        ready = self._manager.loaded(name, number) is not None
        return json_response(tfs.encode_status(name, ready=ready, versions=versions))

    async def metadata(self, request: Request) -> Response:
        """Inputs and outputs of a model's signature."""
        servable = await self._servable(request)
        loop = asyncio.get_running_loop()
        signature = await loop.run_in_executor(self._loader, servable.signature_def)
        return json_response(tfs.encode_metadata(servable.manifest, signature))

    async def live(self) -> Response:
        """Whether the event loop answers."""
        return json_response(b'{"live":true}')

    async def ready(self) -> Response:
        """Whether every model has a version that answers."""
        if self._manager.is_ready:
            return json_response(b'{"ready":true}')
        return error_response("not every model is loaded", 503)

    async def metrics(self) -> Response:
        """Counts for Prometheus."""
        loaded = [s for name in self._manager.names for s in self._manager.all_loaded(name)]
        return Response(self._metrics.render(loaded), media_type=MEDIA_TYPE)

    async def _servable(self, request: Request) -> Servable:
        name, number = target_of(request)
        found = self._manager.loaded(name, number)
        if found:
            return found
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._loader, self._manager.get, name, number)

    def _predict(self, servable: Servable, body: bytes) -> bytes:
        request = tfs.decode_predict(body, servable.spec)
        started = time.perf_counter()
        outputs = servable.infer(request.inputs)
        self._metrics.count_rows(servable, request.rows, time.perf_counter() - started)
        return tfs.encode_predict(outputs, is_row_form=request.is_row_form)


def target_of(request: Request) -> tuple[str, int | None]:
    """The model and version in a path; no version, or 0 as some clients write it, means the newest.

    Raises:
        InvalidRequest: The version is no number.
    """
    text = request.path_params.get("version", "0")
    if not (text.isascii() and text.isdigit()) or len(text) > MAX_DIGITS:
        raise InvalidRequest(f"version: expected a number of at most {MAX_DIGITS} digits in the path")
    return request.path_params["name"], int(text) or None


def create_app(manager: ServableManager, settings: Serve) -> FastAPI:
    """Build the application.

    Args:
        manager: Its models; loaded before or after.
        settings: Limits.
    """
    metrics = Metrics()
    endpoints = Endpoints(manager, settings, metrics)
    app = FastAPI(
        title="Millrace",
        description="Predictions from the models in the store, in TensorFlow Serving's REST protocol.",
        docs_url=None,
        redoc_url=None,
        exception_handlers=HANDLERS,
        redirect_slashes=False,
    )
    app.include_router(_routes(endpoints, manager))
    app.add_middleware(Edge, metrics=metrics)
    app.state.endpoints = endpoints
    return app


class PlainName(Convertor[str]):
    """A name or number in a path. It has no colon: ``x:predict`` is no model, whatever the method."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        """As it stands."""
        return value

    def to_string(self, value: str) -> str:
        """As it stands."""
        return value


def _routes(endpoints: Endpoints, manager: ServableManager) -> APIRouter:
    register_url_convertor("plain", PlainName())
    router = APIRouter(default_response_class=Response)
    model, version = "/v1/models/{name:plain}", "/versions/{version:plain}"
    routes: list[tuple[str, str, Any]] = [
        ("POST", f"{model}:predict", endpoints.predict),
        ("POST", f"{model}{version}:predict", endpoints.predict),
        ("GET", "/v1/models", endpoints.models),
        ("GET", f"{model}/metadata", endpoints.metadata),
        ("GET", f"{model}{version}/metadata", endpoints.metadata),
        ("GET", f"{model}{version}", endpoints.status),
        ("GET", model, endpoints.status),
        ("GET", "/v2/health/live", endpoints.live),
        ("GET", "/v2/health/ready", endpoints.ready),
        ("GET", "/metrics", endpoints.metrics),
    ]
    for method, path, endpoint in routes:
        router.add_api_route(
            path,
            endpoint,
            methods=[method],
            responses=describe_responses(),
            openapi_extra=describe_route(path.replace(":plain", ""), manager),
        )
    router.add_api_route("/docs", _docs, methods=["GET"], include_in_schema=False)
    return router


async def _docs() -> Response:
    """A page that lists the routes and tries them; it loads nothing from other places."""
    return Response(resources.files("serve").joinpath("docs.html").read_bytes(), media_type="text/html")
