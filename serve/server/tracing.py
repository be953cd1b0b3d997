"""Sends a span per request to an OpenTelemetry collector; needs the extra ``otel``.

OpenTelemetry's environment variables set the address of the collector, the name of the service and the sampling:
OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER and others.
"""

import contextlib
import importlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millrace.errors import ConfigError
from serve.http.responses import WHOLE_RESPONSE, Headers

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

SERVICE: Final = "millrace"
EXPORTER: Final = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
UNTRACED: Final = frozenset({"/metrics", "/monitoring/prometheus/metrics", "/v2/health/live", "/v2/health/ready"})
"""Paths that monitoring requests every few seconds."""
ERROR: Final = 500
"""The lowest status that marks a span as failed; errors of the client do not."""
CARRIERS: Final = ("traceparent", "tracestate")


@contextlib.contextmanager
def tracing(app: ASGIApp, *, is_wanted: bool) -> Iterator[ASGIApp]:
    """The application, with a span per request if tracing is on. The remaining spans are sent at the end."""
    if not is_wanted:
        yield app
        return
    provider = _make_provider()
    try:
        yield Traced(app, provider)
    finally:
        provider.shutdown()


def check_tracing() -> None:
    """Check that the extra ``otel`` is installed, before the slow start of models.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        importlib.import_module(EXPORTER)
    except ImportError as error:
        raise ConfigError(
            "serve.tracing: OpenTelemetry is not installed", hint="run: pip install 'millrace[otel]'"
        ) from error


def _make_provider() -> "TracerProvider":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": SERVICE}
    provider = TracerProvider(resource=Resource.create(name), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Traced:
    """An application with a span per request, which is a child of the span in the client's headers.

    Names and attributes follow OpenTelemetry's semantic conventions for HTTP servers.

    Args:
        app: The application.
        provider: Makes the spans.
    """

    def __init__(self, app: ASGIApp, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app = app
        self._tracer = provider.get_tracer(SERVICE)
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["path"] in UNTRACED:
            await self._app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind

        known = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        parent = self._propagator.extract({name: known[name] for name in CARRIERS if name in known})
        attributes = {"http.request.method": scope["method"], "url.path": scope["path"]}
        with self._tracer.start_as_current_span(
            scope["method"], parent, SpanKind.SERVER, attributes, record_exception=False
        ) as span:
            try:
                await self._app(self._inside(scope, span), receive, _noting(span, send))
            finally:
                _name(span, scope)

    def _inside(self, scope: Scope, span: "Span") -> Scope:
        """The scope for the application: with the span in its headers, for log lines, and the status recorded."""
        from opentelemetry.trace import set_span_in_context

        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, set_span_in_context(span))
        others = [header for header in scope["headers"] if header[0].decode() not in CARRIERS]
        scope["headers"] = [*others, *((name.encode(), value.encode()) for name, value in carrier.items())]
        extensions = scope.get("extensions") or {}
        if WHOLE_RESPONSE in extensions:
            at_once = extensions[WHOLE_RESPONSE]

            async def respond(status: int, headers: Headers, body: bytes) -> None:
                _note(span, status)
                await at_once(status, headers, body)

            scope["extensions"] = {**extensions, WHOLE_RESPONSE: respond}
        return scope


def _noting(span: "Span", send: Send) -> Send:
    async def pass_on(message: Message) -> None:
        if message["type"] == "http.response.start":
            _note(span, message["status"])
        await send(message)

    return pass_on


def _note(span: "Span", status: int) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("http.response.status_code", status)
    if status >= ERROR:
        span.set_status(StatusCode.ERROR)


def _name(span: "Span", scope: Scope) -> None:
    """Name the span after the route, which is known only after the request."""
    route: Any = scope.get("route")
    path = getattr(route, "path_format", None)
    if path is None:
        return
    span.update_name(f"{scope['method']} {path}")
    span.set_attribute("http.route", path)
    for key, value in scope.get("path_params", {}).items():
        if key in ("name", "version", "label"):
            span.set_attribute(f"millrace.model.{key}", str(value)[:128])
