"""Sends load to a server with oha (https://github.com/hatoo/oha), which uses far less CPU than a Python client.

In a closed loop each connection sends its next request when it has the response to the last one. In an open loop
requests start at a fixed rate, even if responses are late, and latency counts from the planned start of a request.
A server that stalls is therefore charged for every request that had to wait (no coordinated omission).
"""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Target:
    """A request that a load repeats.

    Attributes:
        url: URL.
        body: Body.
        headers: Headers, each as ``name: value``.
    """

    url: str
    body: bytes
    headers: tuple[str, ...] = ("content-type: application/json",)


@dataclass(frozen=True)
class LoadResult:
    """The result of a load.

    Attributes:
        rate: Responses with status 200 per second.
        p50_ms: Median latency.
        p99_ms: 99th percentile of the latency.
        failed: Requests with another status, or without a response.
        is_behind: Whether less than 95 % of the requested rate was answered with status 200.
        good_p99_ms: 99th percentile of responses with status 200.
        refused_p99_ms: 99th percentile of responses with another status.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    failed: int
    is_behind: bool = False
    good_p99_ms: float = float("nan")
    refused_p99_ms: float = float("nan")


def find_oha() -> str:
    """Return the path of the load generator oha.

    Raises:
        SystemExit: It is not installed.
    """
    found = shutil.which("oha") or shutil.which("oha", path=str(ROOT / ".venv" / "oha" / "bin"))
    if not found:
        raise SystemExit("oha is not installed: `make bench-tools` builds it with cargo")
    return found


def run_load(
    target: Target, folder: Path, *, connections: int, seconds: float, rate: float | None = None
) -> LoadResult:
    """Send one request repeatedly and measure the responses.

    Args:
        target: The request.
        folder: Folder for a file with the body.
        connections: Number of concurrent connections.
        seconds: Duration.
        rate: Requests per second of an open loop; without it the loop is closed.
    """
    file = folder / "body"
    file.write_bytes(target.body)
    command = [find_oha(), "--no-tui", "--output-format", "json", "--worker-threads", "1", "-m", "POST"]
    command += ["--stats-success-breakdown"]
    command += ["-c", str(connections), "-z", f"{seconds}s", "-D", str(file), "-t", "30s", "-w"]
    command += [part for header in target.headers for part in ("-H", header)]
    if rate:
        command += ["-q", f"{rate:g}", "--latency-correction"]
    done = subprocess.run([*command, target.url], capture_output=True, text=True, errors="replace", check=True)
    measured = json.loads(done.stdout)
    good = int(measured["statusCodeDistribution"].get("200", 0))
    total = sum(measured["statusCodeDistribution"].values()) + sum(measured["errorDistribution"].values())
    percentiles = measured["latencyPercentiles"]
    per_second = good / measured["summary"]["total"]
    return LoadResult(
        per_second,
        _milliseconds(percentiles, "p50"),
        _milliseconds(percentiles, "p99"),
        total - good,
        bool(rate) and per_second < 0.95 * (rate or 0),
        _milliseconds(measured.get("latencyPercentilesSuccessful"), "p99"),
        _milliseconds(measured.get("latencyPercentilesNotSuccessful"), "p99"),
    )


def _milliseconds(percentiles: dict[str, float | None] | None, which: str) -> float:
    seconds = (percentiles or {}).get(which)
    return float("nan") if seconds is None else 1000 * seconds
