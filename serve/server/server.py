"""Runs the HTTP application on uvicorn until it is told to stop."""

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
from serve.monitoring.merged_metrics import SharedPages
from serve.servables.manager import ServableManager
from serve.server.app import Application
from serve.server.reload import Reloader
from serve.server.tracing import check_tracing, tracing
from serve.server.workers import Workers

logger = logging.getLogger(__name__)

BACKLOG: Final = 2048


def unchanged() -> None:
    """A configuration that does not change."""


def run(
    product: Product,
    store: Store,
    *,
    on_ready: Callable[[str], None] | None = None,
    reread: Callable[[], Product | None] = unchanged,
) -> None:
    """Serve a product's model until SIGTERM or SIGINT, then finish what is in flight and return.

    Args:
        product: Names the model, and where to listen.
        store: Holds the model.
        on_ready: Called with the address once requests are answered.
        reread: The configuration, if it has changed since the last call; which models are served, and how, is taken
            from it without a restart. With several workers each has one of its own, so it has to be picklable.

    Raises:
        ConfigError: The address cannot be listened on, or settings ask for what is not possible.
        ArtifactNotFound: The store has no version of the model.
        ModelDamaged: No version of the model can be loaded.
    """
    settings = product.config.serve
    if settings.workers > 1 and settings.model_control:
        raise ConfigError(
            "serve.model_control: a client reaches one of the workers, and would load or unload for that one alone",
            hint="say serve.workers: 1, or change serve.models, which every worker reads again",
        )
    if settings.tracing == "otlp":
        check_tracing()
    listener = listen(settings)
    address = address_of(listener)

    def tell() -> None:
        logger.info("ready at %s, its routes at %s/docs", address, address)
        if on_ready:
            on_ready(address)

    try:
        if settings.workers == 1:
            answer(product, store, reread, None, listener, tell)
        else:
            with tempfile.TemporaryDirectory(prefix="millrace-serve-") as folder:
                work = partial(answer, product, store, reread, Path(folder))
                workers = Workers(settings.workers, work, listener, logs_json=settings.log_format == "json")
                workers.run(tell)
    finally:
        listener.close()
    logger.info("stopped")


def answer(
    product: Product,
    store: Store,
    reread: Callable[[], Product | None],
    pages: Path | None,
    listener: socket.socket,
    on_ready: Callable[[], None],
) -> None:
    """Answer on a listener, in this process, until a signal; see `run`.

    Args:
        product: Names the model.
        store: Holds it.
        reread: See `run`.
        pages: Where the metrics of all workers lie, if there are others.
        listener: Where to take connections.
        on_ready: Called once requests are answered.
    """
    settings = product.config.serve
    # A model starts anew once nobody waits for its answer any more.
    host = partial(IsolatedServable, answer_within_s=settings.infer_deadline_s, logs_json=settings.log_format == "json")
    manager = ServableManager(ModelStore(store), models_of(product), host=host)
    try:
        manager.load()
        app = Application(manager, settings, SharedPages(pages) if pages else None)
        service = app.service
        reloader = Reloader(manager, app.metrics, settings.reload_s, service.batch_sizes, lambda: _models_if(reread()))
        with tracing(app, is_wanted=settings.tracing == "otlp") as traced:
            reloader.start()
            _serve(Server(configure(traced, settings), on_ready, service.drain, app.share_counts), listener)
            reloader.stop()
        service.close()
    finally:
        # Not left to the interpreter's end, which would wait for processes that hear no SIGTERM.
        manager.close()


def models_of(product: Product) -> dict[str, ServedModel]:
    """The models that a product serves: its own, and those that its configuration names."""
    return {product.config.product: ServedModel(), **product.config.serve.models}


def _models_if(product: Product | None) -> dict[str, ServedModel] | None:
    return models_of(product) if product else None


def listen(settings: Serve) -> socket.socket:
    """Take the port, before a model is loaded in vain.

    Raises:
        ConfigError: The port is taken, the address is not this machine's, or others reach it and that is not wanted.
    """
    where = f"{settings.host}:{settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"serve.host: {settings.host} is no address: {error.strerror}") from error
    try:
        if not settings.open_to_everyone and not ipaddress.ip_address(address[0]).is_loopback:
            raise ConfigError(
                f"serve.host: others reach {settings.host}, and nobody is asked who they are",
                hint="listen on 127.0.0.1 behind a proxy that asks, or say serve.open_to_everyone: true (--open)",
            )
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except ConfigError:
        listener.close()
        raise
    except OSError as error:
        listener.close()
        taken = error.errno == errno.EADDRINUSE
        hint = "stop the other program, or choose another port: --set serve.port=0 takes a free one"
        raise ConfigError(
            f"serve.port: {where} is in use" if taken else f"cannot listen on {where}: {error.strerror}",
            hint=hint if taken else "serve.host must be an address of this machine",
        ) from error
    return listener


def address_of(listener: socket.socket) -> str:
    """Where a client reaches a listener."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _serve(server: Server, listener: socket.socket) -> None:
    # uvicorn stops well on a signal, then raises it again: with its default action that would be the exit code.
    kept = {number: signal.signal(number, _ignore) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run(sockets=[listener])
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Take a signal that has done its work."""
