"""uvicorn's server, with a callback at its start, draining at SIGTERM, and work once a second.

`Server` overrides `startup`, `handle_exit` and `on_tick` and reads `server_state.connections`, which uvicorn does not
document. Unlike `serve.http.fast_path` there is no switch for it: uvicorn has no other way to do this.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from millrace.config.sections.serve import Serve

logger = logging.getLogger(__name__)

GRACE_S: Final = 25
"""How long running requests may take after a stop signal."""
TICKS: Final = 10
"""Ticks of uvicorn per second."""


def configure(app: ASGIApp, settings: Serve) -> uvicorn.Config:
    """The configuration of uvicorn for an application."""
    protocol: type[asyncio.Protocol] | str = "httptools"
    if settings.fast_http:
        # Imported here: the switch must work even if a new uvicorn does not have the parts that it uses.
        from serve.http.fast_path import fast_protocol

        protocol = fast_protocol(settings)
    return uvicorn.Config(
        app,
        http=protocol,
        loop="uvloop",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the service does not use the client's address
        timeout_graceful_shutdown=GRACE_S,
    )


class Server(uvicorn.Server):
    """A uvicorn server with callbacks.

    Args:
        config: The configuration of uvicorn.
        on_start: Called when the server answers requests.
        on_drain: Called at SIGTERM; returns for how many seconds the server continues to answer.
        on_second: Called once a second.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        on_start: Callable[[], None],
        on_drain: Callable[[], float] = lambda: 0.0,
        on_second: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(config)
        self._on_start = on_start
        self._on_drain = on_drain
        self._on_second = on_second
        self._is_draining = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer requests, then call `on_start`."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets=sockets)
        self._on_start()

    def stop(self) -> None:
        """Stop as at a signal; may be called by any thread."""
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """At the first SIGTERM, continue to answer so that a load balancer can see that the server is not ready.

        At a second SIGTERM, and at SIGINT (Ctrl-C), stop at once.
        """
        if sig != signal.SIGTERM or self._is_draining or self._loop is None:
            super().handle_exit(sig, frame)
            return
        self._is_draining = True
        seconds = self._on_drain()
        if seconds:
            logger.info("not ready any more; closing in %g s", seconds)
        # A signal handler may only call the loop's thread-safe methods.
        self._loop.call_soon_threadsafe(self._loop.call_later, seconds, super().handle_exit, sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Once a second, close late connections and call `on_second`."""
        if counter % TICKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                # `serve.http.fast_path` has it, uvicorn's own protocol has not.
                close_if_late = getattr(connection, "close_if_late", None)
                if close_if_late is not None:
                    close_if_late(now)
            if self._on_second:
                await self._on_second()
        return await super().on_tick(counter)
