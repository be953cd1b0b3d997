"""Writes the page docs/benchmarks.md."""

import datetime
import os
import platform
from collections.abc import Iterable
from typing import Final

from benchmarks.figures import ROOT, Figure
from benchmarks.serving.load import LoadResult

PAGE: Final = ROOT / "docs" / "benchmarks.md"
HEAD: Final = """# Benchmarks of the service

`make bench-serve` writes this page; do not edit it.

All servers run on one machine and are measured in turns under the same load. The load generator runs on the same
machine, so compare figures only within this page. Rates and latencies under load are medians of 3 rounds.
`answers/s` counts responses with status 200. `not 200` counts all other requests of the 3 rounds together.

**Models.** The tabular model has 12 float inputs, 4 string inputs with 200 words each, and layers of 128 and 64
units. A request is one row of JSON. The image model is served with `join_requests: true`.

**Servers.** MLServer and BentoML run in virtual environments of their own.

- *no-op route*: a FastAPI route that does nothing. It shows what the HTTP stack alone costs.
- *millrace*: default settings. V1 and V2 are the two protocols.
- *MLServer, default*: default settings.
- *MLServer, tuned*: the settings that served this model best. One process, requests batched within 5 ms, TensorFlow
  called in the event loop, `gc.freeze()`.
- *BentoML, tuned*: the settings that served this model best. Two workers, adaptive batching, rows as objects,
  `gc.freeze()`.

**Load.** In the closed loop each connection sends its next request when it has the answer to the last one. In the
open loop requests start at a fixed rate, even if answers are late, and latency counts from the planned start of a
request. `(behind)` means that less than 95 % of the rate was answered.
"""


def write_report(
    figures: Iterable[Figure],
    closed: dict[tuple[str, int], LoadResult],
    opened: dict[tuple[str, int], LoadResult],
    images: dict[tuple[str, int], LoadResult],
    direct: dict[str, float],
    memory: dict[str, float],
) -> None:
    """Write the page.

    Args:
        figures: Results with a goal.
        closed: Results of the closed loop, by server and number of connections.
        opened: Results of the open loop, by server and rate.
        images: Results with an image, by encoding and number of connections.
        direct: Latency of a direct call of TensorFlow.
        memory: Memory in MB, by process.
    """
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    lines = [HEAD, f"{today}, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}.", ""]
    lines += ["## Goals", "", "| measurement | result | compared with | goal | reached |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    lines += [f"| {f.name} | {f.got} | {f.reference} | {f.goal} | {'yes' if f.reached else 'no'} |" for f in figures]
    lines += ["", "## Closed loop", "", *_table(closed, "connections")]
    lines += ["", "## Open loop", "", *_table(opened, "requests/s")]
    lines += ["", "## An image of 224 x 224 x 3 FP32, by encoding", "", *_table(images, "connections")]
    lines += ["", "## Direct call of TensorFlow", ""]
    lines += [f"p50 {direct['p50_ms']:.2f} ms, p99 {direct['p99_ms']:.2f} ms, one row at a time.", ""]
    lines += ["## Memory (PSS)", "", *(f"- {name}: {megabytes:.0f} MB" for name, megabytes in memory.items()), ""]
    PAGE.write_text("\n".join(lines))


def _table(results: dict[tuple[str, int], LoadResult], level: str) -> list[str]:
    rows = [f"| server | {level} | answers/s | p50 ms | p99 ms | not 200 |", "| --- " + "| ---: " * 5 + "|"]
    for (name, number), result in sorted(results.items(), key=lambda item: item[0][1]):
        rate = f"{result.rate:,.0f}" + (" (behind)" if result.is_behind else "")
        rows.append(f"| {name} | {number} | {rate} | {result.p50_ms:.2f} | {result.p99_ms:.2f} | {result.failed} |")
    return rows
