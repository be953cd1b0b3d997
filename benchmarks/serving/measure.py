"""Measures all servers under the same load in turns, so that other activity on the machine affects all of them."""

import contextlib
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.figures import Figure
from benchmarks.serving import payloads, servers
from benchmarks.serving.load import LoadResult, Target, run_load
from benchmarks.serving.models import publish_all
from benchmarks.serving.report import write_report

CONNECTIONS: Final = (1, 16, 64, 256)
SECONDS: Final = 5
ROUNDS: Final = 3
RATES: Final = (200, 500, 1000, 2000)
"""Rates of the open loop, in requests per second."""

IMAGE_MODEL: Final = "{image: {allow_foreign: true, join_requests: true}}"

Table = dict[tuple[str, int], LoadResult]
"""Results by server, and number of connections or rate."""


def measure(folder: Path) -> list[Figure]:
    """Run all measurements, write docs/benchmarks.md, and return the results that have a goal."""
    _check_no_other_tensorflow()
    store = folder / "store"
    model = publish_all(store)
    direct = _direct(model)
    memory = {"plain TensorFlow": direct["pss_mb"], **_memory(store, folder)}
    with contextlib.ExitStack() as stack:
        millrace = stack.enter_context(servers.millrace(store, models=IMAGE_MODEL))
        targets: list[tuple[str, Target]] = [
            ("no-op route", payloads.ignored_row(stack.enter_context(servers.floor()).url)),
            ("millrace, V2", payloads.v2_row(millrace.url)),
            ("millrace, V1", payloads.v1_row(millrace.url)),
        ]
        for name, start in _peers(model, folder):
            server = stack.enter_context(start())
            targets.append((name, (payloads.bento_row if "Bento" in name else payloads.v2_row)(server.url)))
        closed = _rounds(targets, folder, CONNECTIONS)
        opened = _rounds(targets, folder, RATES, is_open=True)
        images = _rounds(
            [
                ("binary", payloads.v2_image(millrace.url, binary=True)),
                ("JSON", payloads.v2_image(millrace.url, binary=False)),
            ],
            folder,
            (4,),
        )
    figures = _figures(closed, images, direct, memory)
    write_report(figures, closed, opened, images, direct, memory)
    return figures


def _check_no_other_tensorflow() -> None:
    """Exit if another process has TensorFlow loaded: shared pages count less in PSS, and it could use the cores."""
    others = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any("_pywrap_tensorflow" in mapped.path for mapped in process.memory_maps()):
                others.append(process.pid)
    if others:
        sys.exit(f"make bench-serve: other processes have TensorFlow loaded; end them first: {others}")


def _memory(store: Path, folder: Path) -> dict[str, float]:
    """Measure the memory of the server with the tabular model, after some load."""
    memory = {}
    for name, workers in (("millrace", "1"), ("millrace, 4 workers", "4")):
        with servers.millrace(store, "--workers", workers) as server:
            run_load(payloads.v2_row(server.url), folder, connections=16, seconds=3)
            memory[name] = server.pss_mb()
    return memory


def _peers(model: Path, folder: Path) -> list[tuple[str, Callable[[], Any]]]:
    return [
        ("MLServer, default", lambda: servers.mlserver(model, folder, tuned=False)),
        ("MLServer, tuned", lambda: servers.mlserver(model, folder, tuned=True)),
        ("BentoML, tuned", lambda: servers.bentoml(model, folder)),
    ]


def _direct(model: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.serving.direct", str(model)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def _rounds(
    targets: list[tuple[str, Target]], folder: Path, levels: tuple[int, ...], *, is_open: bool = False
) -> Table:
    """Return the medians of several rounds, after a warm-up."""
    results: dict[tuple[str, int], list[LoadResult]] = defaultdict(list)
    for _, target in targets:
        run_load(target, folder, connections=64, seconds=2)
    for _ in range(ROUNDS):
        for level in levels:
            for name, target in targets:
                load = {"connections": 256, "rate": level} if is_open else {"connections": level}
                result = run_load(target, folder, seconds=SECONDS, **load)
                results[name, level].append(result)
                kind = "req/s" if is_open else "connections"
                missed = f", {result.failed} failed" if result.failed else ""
                print(
                    f"{name:24} {level:5} {kind:11} {result.rate:8,.0f}/s, p50 {result.p50_ms:8.2f}, "
                    f"p99 {result.p99_ms:8.2f} ms{missed}",
                    file=sys.stderr,
                    flush=True,
                )
    return {key: _median(values) for key, values in results.items()}


def _median(results: list[LoadResult]) -> LoadResult:
    return LoadResult(
        statistics.median(s.rate for s in results),
        statistics.median(s.p50_ms for s in results),
        statistics.median(s.p99_ms for s in results),
        sum(s.failed for s in results),
        any(s.is_behind for s in results),
    )


def _figures(closed: Table, images: Table, direct: dict[str, float], memory: dict[str, float]) -> list[Figure]:
    millrace, floor = closed["millrace, V2", 64], closed["no-op route", 64]
    tuned, default = closed["MLServer, tuned", 64], closed["MLServer, default", 64]
    bento = closed["BentoML, tuned", 64]
    alone, bound = closed["millrace, V2", 1].p50_ms, 2 * direct["p50_ms"] + 0.6
    share = memory["millrace"] / memory["plain TensorFlow"]
    return [
        _ratio("answers/s, 64 connections: against the no-op route", millrace.rate, floor.rate, 0.7),
        _ratio("answers/s, 64 connections: against MLServer, tuned", millrace.rate, tuned.rate, 3),
        _ratio("answers/s, 64 connections: against MLServer, default", millrace.rate, default.rate, 6),
        _ratio("answers/s, 64 connections: against BentoML, tuned", millrace.rate, bento.rate, 3),
        Figure(
            "p99, 64 connections: against MLServer, tuned",
            f"{millrace.p99_ms:.1f} ms",
            f"{tuned.p99_ms:.1f} ms: {millrace.p99_ms / tuned.p99_ms:.2f}",
            "<= 0.50",
            millrace.p99_ms <= 0.5 * tuned.p99_ms,
        ),
        Figure(
            "p50, 1 connection: against a direct call of TensorFlow",
            f"{alone:.2f} ms",
            f"{direct['p50_ms']:.2f} ms direct",
            f"<= {bound:.2f} ms",
            alone <= bound,
        ),
        _ratio("images: binary against JSON", images["binary", 4].rate, images["JSON", 4].rate, 5),
        Figure(
            "memory: one worker against a plain TensorFlow process with the model",
            f"{memory['millrace']:.0f} MB",
            f"{memory['plain TensorFlow']:.0f} MB: {share:.2f}",
            "<= 1.30",
            share <= 1.3,  # noqa: PLR2004
        ),
        Figure(
            "memory: 4 workers against one",
            f"{memory['millrace, 4 workers']:.0f} MB",
            f"{memory['millrace']:.0f} MB: {memory['millrace, 4 workers'] / memory['millrace']:.2f}",
            "<= 4.00",
            memory["millrace, 4 workers"] <= 4 * memory["millrace"],
        ),
    ]


def _ratio(name: str, got: float, reference: float, goal: float) -> Figure:
    return Figure(
        name, f"{got:,.0f}/s", f"{reference:,.0f}/s: {got / reference:.2f}x", f">= {goal:.2f}x", got / reference >= goal
    )
