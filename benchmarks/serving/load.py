"""Load on a server, by oha (https://github.com/hatoo/oha), which costs far less than a Python client would.

In the closed loop each connection asks again as soon as it is answered. In the open loop requests start at a rate
whatever the answers do, and latencies count from when a request should have started: so a server that stands still is
charged for every request that it made wait (no coordinated omission).
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
    """What is asked.

    Attributes:
        url: Where.
        body: What is sent.
        headers: Beside it, each as ``name: value``.
    """

    url: str
    body: bytes
    headers: tuple[str, ...] = ("content-type: application/json",)


@dataclass(frozen=True)
class Seen:
    """What a load saw.

    Attributes:
        rate: Answers of 200 a second.
        p50_ms: Median latency.
        p99_ms: Latency that one of a hundred exceeds.
        failed: Requests that were answered otherwise or not at all.
        late: Whether the generator could not keep the rate that it was told.
        good_p99_ms: As `p99_ms`, of the answers of 200 alone.
        refused_p99_ms: Of the others.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    failed: int
    late: bool = False
    good_p99_ms: float = float("nan")
    refused_p99_ms: float = float("nan")


def find_oha() -> str:
    """The load generator.

    Raises:
        SystemExit: It is not there.
    """
    found = shutil.which("oha") or shutil.which("oha", path=str(ROOT / ".venv" / "oha" / "bin"))
    if not found:
        raise SystemExit("oha is not on the PATH: `make bench-serve` builds it where cargo is")
    return found


def ask(target: Target, folder: Path, *, connections: int, seconds: float, rate: float | None = None) -> Seen:
    """Ask for a while.

    Args:
        target: Whom.
        folder: For the body.
        connections: How many at a time.
        seconds: How long.
        rate: Requests a second, in the open loop; without it the loop is closed.
    """
    file = folder / "body"
    file.write_bytes(target.body)
    command = [find_oha(), "--no-tui", "--output-format", "json", "--worker-threads", "1", "-m", "POST"]
    command += ["--stats-success-breakdown"]
    command += ["-c", str(connections), "-z", f"{seconds}s", "-D", str(file), "-t", "30s", "-w"]
    command += [part for header in target.headers for part in ("-H", header)]
    if rate:
        command += ["-q", f"{rate:g}", "--latency-correction"]
    done = subprocess.run([*command, target.url], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    good = int(told["statusCodeDistribution"].get("200", 0))
    whole = sum(told["statusCodeDistribution"].values()) + sum(told["errorDistribution"].values())
    percentiles = told["latencyPercentiles"]
    per_second = good / told["summary"]["total"]
    return Seen(
        per_second,
        _milliseconds(percentiles, "p50"),
        _milliseconds(percentiles, "p99"),
        whole - good,
        bool(rate) and per_second < 0.95 * (rate or 0),
        _milliseconds(told.get("latencyPercentilesSuccessful"), "p99"),
        _milliseconds(told.get("latencyPercentilesNotSuccessful"), "p99"),
    )


def _milliseconds(percentiles: dict[str, float | None] | None, which: str) -> float:
    seconds = (percentiles or {}).get(which)
    return float("nan") if seconds is None else 1000 * seconds
