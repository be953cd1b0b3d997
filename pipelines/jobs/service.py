"""Starts the service of a product, in this process or in a new one."""

import contextlib
import json
import logging
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

from millrace.config import Product, load_product
from millrace.config.load import find_profile
from millrace.errors import Unavailable, shorten
from millrace.logs import configure_logging
from millrace.storage import Store

logger = logging.getLogger(__name__)


def serve_product(path: Path, profile: str, settings: list[str]) -> None:
    """Serve the newest version of a product's model until a signal ends the process."""
    from serve.server.server import run

    watched = WatchedConfig(path, profile, settings)
    product = watched.load()
    configure_logging(as_json=product.config.serve.log_format == "json")
    run(product, Store(product.config.store.root), reread=watched.reread)


class WatchedConfig:
    """A configuration that is loaded again when its files have changed.

    Args:
        path: The product file.
        profile: Name or path of a profile.
        settings: Overrides.
    """

    def __init__(self, path: Path, profile: str, settings: list[str]) -> None:
        self._path, self._profile, self._settings = path, profile, settings
        self._seen: object = None

    def load(self) -> Product:
        """Load the configuration.

        Raises:
            ConfigError: The configuration has mistakes.
        """
        self._seen = self._state()
        return load_product(self._path, profile=self._profile, settings=self._settings, thorough=False)

    def reread(self) -> Product | None:
        """Load the configuration if a file has changed since the last load; else return None.

        Raises:
            ConfigError: The configuration has mistakes, or is gone; raised once for each change.
        """
        return self.load() if self._state() != self._seen else None

    def _state(self) -> object:
        files = [self._path, find_profile(self._profile, self._path)]
        stats = [file.stat() if file and file.exists() else None for file in files]
        return [(stat.st_mtime_ns, stat.st_size, stat.st_ino) if stat else None for stat in stats]


@contextlib.contextmanager
def service(path: Path, profile: str, settings: list[str], *, timeout_s: float = 120) -> Iterator[str]:
    """Run ``millrace serve`` on a free port in a new process, which ends with the block.

    Yields:
        The service's address, once it is ready.

    Raises:
        Unavailable: The service ended, or was not ready in time.
    """
    command = [
        sys.executable,
        "-m",
        "pipelines.commands.cli",
        "serve",
        str(path),
        "--profile",
        profile,
        "--port",
        "0",
    ]
    for setting in settings:
        command += ["--set", setting]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace")
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    # A thread reads to the end: a full pipe would block the service.
    reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    try:
        yield _wait_for_address(lines, timeout_s)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
        process.wait()
        reader.join()


def _read(process: "subprocess.Popen[str]", lines: "queue.SimpleQueue[str | None]") -> None:
    if process.stderr is not None:
        with process.stderr as stderr:
            for line in stderr:
                lines.put(line)
    lines.put(None)


def _wait_for_address(lines: "queue.SimpleQueue[str | None]", timeout_s: float) -> str:
    deadline = time.monotonic() + timeout_s
    output: list[str] = []
    with contextlib.suppress(queue.Empty):
        while (line := lines.get(timeout=max(0.0, deadline - time.monotonic()))) is not None:
            output.append(line)
            found = re.search(r"http://[^\s,]+:\d+", line)
            if found:
                return found.group()
    raise Unavailable(f"the service did not start: {''.join(output[-5:]).strip() or 'it has no output'}")


def request_predictions(
    address: str, model: str, rows: list[dict[str, Any]], *, timeout_s: float = 30
) -> dict[str, Any]:
    """Send rows to ``:predict`` and return the decoded response; timestamps are sent in ISO 8601.

    Raises:
        Unavailable: The service refused the rows, or did not respond.
    """
    body = json.dumps({"instances": rows}, default=datetime.isoformat).encode()
    url = f"{address}/v1/models/{model}:predict"
    request = HttpRequest(url, body, {"Content-Type": "application/json"}, method="POST")  # noqa: S310 - our own address
    try:
        with urlopen(request, timeout=timeout_s) as response:  # noqa: S310
            decoded: dict[str, Any] = json.load(response)
    except HTTPError as error:
        raise Unavailable(f"{url}: {error.code}: {shorten(error.read().decode(errors='replace'))}") from error
    except OSError as error:
        raise Unavailable(f"{url}: {error}") from error
    return decoded
