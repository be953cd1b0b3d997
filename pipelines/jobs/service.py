"""Starts the service of a product, in this process or in one of its own."""

import contextlib
import json
import logging
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

from pipelines.config import load_product
from pipelines.errors import StorageError
from pipelines.logs import configure_logging
from pipelines.storage import Store

logger = logging.getLogger(__name__)


def serve_product(path: Path, profile: str, settings: list[str]) -> None:
    """Serve the newest version of a product's model until a signal ends the process."""
    from serve.server import run

    product = load_product(path, profile=profile, settings=settings)
    configure_logging()
    run(product, Store(product.config.store.root))


@contextlib.contextmanager
def service(path: Path, profile: str, settings: list[str], *, timeout_s: float = 120) -> Iterator[str]:
    """Run ``millrace serve`` on a free port in a process of its own, which ends with the block.

    Yields:
        The address, once the service answers.

    Raises:
        StorageError: The service ended, or did not answer in time.
    """
    command = [
        sys.executable,
        "-m",
        "pipelines.jobs.cli",
        "serve",
        str(path),
        "--profile",
        profile,
        "--port",
        "0",
    ]
    for setting in settings:
        command += ["--set", setting]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield _wait_for_address(process, timeout_s)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
        process.communicate()


def _wait_for_address(process: "subprocess.Popen[str]", timeout_s: float) -> str:
    deadline = time.monotonic() + timeout_s
    said = []
    for line in process.stderr or ():
        said.append(line)
        found = re.search(r"http://[^\s,]+:\d+", line)
        if found:
            return found.group()
        if time.monotonic() > deadline:
            break
    raise StorageError(f"the service did not start: {''.join(said[-5:]).strip()}")


def ask_rows(address: str, model: str, rows: list[dict[str, Any]], *, timeout_s: float = 30) -> dict[str, Any]:
    """Send rows to ``:predict`` and return the decoded answer; moments are written in ISO 8601."""
    body = json.dumps({"instances": rows}, default=datetime.isoformat).encode()
    url = f"{address}/v1/models/{model}:predict"
    request = HttpRequest(url, body, {"Content-Type": "application/json"}, method="POST")  # noqa: S310 - our own address
    with urlopen(request, timeout=timeout_s) as response:  # noqa: S310
        answer: dict[str, Any] = json.load(response)
    return answer
