"""Writes docs/benchmarks.md."""

import datetime
import os
import platform
from collections.abc import Iterable
from typing import Final

from benchmarks.figures import ROOT, Figure
from benchmarks.serving.load import Seen

PAGE: Final = ROOT / "docs" / "benchmarks.md"
HEAD: Final = """# Benchmarks of the service

Written by `make bench-serve`; do not edit. All servers run on one machine and take turns under the same load, which
comes from the same machine: compare figures of this page with each other only. Each is the median of some rounds.

The tabular model has 12 float and 4 string inputs (200 words each) and layers of 128 and 64; a request is one row of
JSON. MLServer and BentoML run in environments of their own: *as it comes* with default settings, *tuned* with what
served this model best (MLServer: one process, requests joined within 5 ms, TensorFlow called inline, collector frozen;
BentoML: two workers, adaptive batching, rows as objects, collector frozen). The floor is a FastAPI route that does
nothing. In the open loop requests start at a rate, whatever the answers do, and latency counts from when a request
should have started.
"""


def write_report(
    figures: Iterable[Figure],
    closed: dict[tuple[str, int], Seen],
    opened: dict[tuple[str, int], Seen],
    images: dict[tuple[str, int], Seen],
    direct: dict[str, float],
    memory: dict[str, float],
) -> None:
    """Write the page."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    lines = [HEAD, f"{today}, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}.", ""]
    lines += ["## Aims", "", "| what | got | beside | goal | reached |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| {f.what} | {f.got} | {f.beside} | {f.goal} | {'yes' if f.reached else 'no'} |" for f in figures]
    lines += ["", "## Closed loop", "", *_table(closed, "connections")]
    lines += ["", "## Open loop", "", *_table(opened, "requests/s")]
    lines += ["", "## An image of 224 x 224 x 3 FP32", "", *_table(images, "connections")]
    lines += ["", "## The direct call", ""]
    lines += [f"p50 {direct['p50_ms']:.2f} ms, p99 {direct['p99_ms']:.2f} ms, one row at a time.", ""]
    lines += ["## Memory (PSS)", "", *(f"- {name}: {megabytes:.0f} MB" for name, megabytes in memory.items()), ""]
    PAGE.write_text("\n".join(lines))


def _table(seen: dict[tuple[str, int], Seen], level: str) -> list[str]:
    rows = [f"| server | {level} | answers/s | p50 ms | p99 ms | not answered 200 |", "| --- " + "| ---: " * 5 + "|"]
    for (name, number), one in sorted(seen.items(), key=lambda item: item[0][1]):
        rate = f"{one.rate:,.0f}" + (" (behind)" if one.late else "")
        rows.append(f"| {name} | {number} | {rate} | {one.p50_ms:.2f} | {one.p99_ms:.2f} | {one.failed} |")
    return rows
