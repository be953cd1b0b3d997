"""Runs the HTTP application on uvicorn until a stop signal."""

import errno
import ipaddress
import logging
import signal
import socket
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final

from millrace.config.load import Product
from millrace.config.sections.serve import Serve, ServedModel
from millrace.errors import ConfigError
from millrace.models.store import ModelStore
from millrace.storage import Store
from serve.http.uvicorn_server import Server, configure
from serve.isolation.parent import IsolatedServable
from serve.isolation.process import ProcessGroup
from serve.monitoring.merged_metrics import SharedPages
from serve.servables.manager import ServableManager
from serve.server.app import Application
from serve.server.reload import Reloader
from serve.server.tracing import check_tracing, tracing
from serve.server.workers import Workers

logger = logging.getLogger(__name__)

LOADERS: Final = 4
"""Models that are loaded at the same time."""
BACKLOG: Final = 2048


def unchanged() -> None:
    """The default of `reread`: the configuration never changes."""


def run(
    product: Product,
    store: Store,
    *,
    on_ready: Callable[[str], None] | None = None,
    reread: Callable[[], Product | None] = unchanged,
) -> None:
    """Serve a product's model until SIGTERM or SIGINT, then finish the running requests and return.

    Args:
        product: The configuration.
        store: Holds the models. A model without a version is loaded when its first one appears.
        on_ready: Called with the address when the server answers requests and the models were loaded, or could not be.
        reread: Returns the configuration if it has changed since the last call, else None. A change of the served
            models needs no restart. Each worker gets a copy, so it has to be picklable.

    Raises:
        ConfigError: The server cannot listen on the address, settings contradict each other, or the store cannot be
            used.
    """
    settings = product.config.serve
    if settings.workers > 1 and settings.model_control:
        raise ConfigError(
            "serve.model_control: a request reaches one of the workers, and would load or unload the model only there",
            hint="set serve.workers: 1, or change serve.models, which every worker reads again",
        )
    if settings.tracing == "otlp":
        check_tracing()
    listener = listen(settings)
    address = address_of(listener)

    def report_ready() -> None:
        logger.info("listening at %s, its routes at %s/docs; models come from %s", address, address, store.root)
        if on_ready:
            on_ready(address)

    try:
        if settings.workers == 1:
            run_worker(product, store, reread, None, listener, report_ready)
        else:
            with tempfile.TemporaryDirectory(prefix="millrace-serve-") as folder:
                work = partial(run_worker, product, store, reread, Path(folder))
                workers = Workers(settings.workers, work, listener, logs_json=settings.log_format == "json")
                workers.run(report_ready)
    finally:
        listener.close()
    logger.info("stopped")


def run_worker(
    product: Product,
    store: Store,
    reread: Callable[[], Product | None],
    pages: Path | None,
    listener: socket.socket,
    on_ready: Callable[[], None],
) -> None:
    """Serve on a listener, in this process, until a stop signal; see `run`.

    Args:
        product: The configuration.
        store: Holds the model.
        reread: See `run`.
        pages: The folder with the metrics of all workers, if there are several.
        listener: The socket to accept connections on.
        on_ready: Called when this process answers requests and the models were loaded, or could not be.

    Raises:
        ConfigError: The store cannot be used.
    """
    settings = product.config.serve
    # After this time no client waits any more: the process of the model is restarted.
    group = ProcessGroup()
    host = partial(
        IsolatedServable,
        answer_within_s=settings.infer_deadline_s,
        load_within_s=settings.load_deadline_s,
        group=group,
        logs_json=settings.log_format == "json",
    )
    manager = ServableManager(ModelStore(store), served_models(product), host=host, loaders=LOADERS)
    try:
        app = Application(manager, settings, SharedPages(pages) if pages else None)
        reloader = Reloader(manager, app.metrics, settings.reload_s, lambda: _models_if(reread()))
        with tracing(app, is_wanted=settings.tracing == "otlp") as traced:
            # The server answers before the models are loaded, which may take long: it is alive, and not ready.
            server = Server(
                configure(traced, settings),
                lambda: reloader.start(on_ready, server.stop),
                app.service.drain,
                app.share_counts,
            )
            _serve(server, listener)
            reloader.stop()
        app.close()
    finally:
        # At its exit, the interpreter would wait for the processes of models, which ignore SIGTERM.
        group.end()
    if reloader.error is not None:
        raise reloader.error


def served_models(product: Product) -> dict[str, ServedModel]:
    """The models to serve: the product's own, and those in `serve.models`."""
    return {product.config.product: ServedModel(), **product.config.serve.models}


def _models_if(product: Product | None) -> dict[str, ServedModel] | None:
    return served_models(product) if product else None


def listen(settings: Serve) -> socket.socket:
    """Open the port, before the slow start of models.

    Raises:
        ConfigError: The port is in use, the address is not of this machine, or it is public and
            `serve.open_to_everyone` is not set.
    """
    where = f"{settings.host}:{settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"serve.host: {settings.host} is not an address: {error.strerror}") from error
    try:
        if not settings.open_to_everyone and not ipaddress.ip_address(address[0]).is_loopback:
            raise ConfigError(
                f"serve.host: other machines can reach {settings.host}, and the service has no authentication",
                hint="listen on 127.0.0.1 behind an authenticating proxy, or set serve.open_to_everyone: true (--open)",
            )
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except ConfigError:
        listener.close()
        raise
    except OSError as error:
        listener.close()
        in_use = error.errno == errno.EADDRINUSE
        hint = "stop the other program, or choose another port: --set serve.port=0 takes a free one"
        raise ConfigError(
            f"serve.port: {where} is in use" if in_use else f"cannot listen on {where}: {error.strerror}",
            hint=hint if in_use else "serve.host must be an address of this machine",
        ) from error
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL of a listener."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _serve(server: Server, listener: socket.socket) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        server.stop()

    # uvicorn stops on a signal and then raises it again: its default action would be the exit code of this process. And
    # a signal may come before uvicorn has its own handlers.
    kept = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run(sockets=[listener])
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
