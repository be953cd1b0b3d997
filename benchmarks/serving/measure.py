"""Every server under the same load, in turns, so that what else the machine does hits all."""

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
from benchmarks.serving import questions, servers
from benchmarks.serving.load import Seen, Target, ask
from benchmarks.serving.models import publish_all
from benchmarks.serving.report import write_report

CONNECTIONS: Final = (1, 16, 64, 256)
SECONDS: Final = 5
ROUNDS: Final = 3
RATES: Final = (200, 500, 1000, 2000)
"""Of the open loop, in requests a second."""

IMAGE_MODEL: Final = "{image: {allow_foreign: true, join_requests: true}}"

Table = dict[tuple[str, int], Seen]
"""By server, and connections or rate."""


def measure(folder: Path) -> list[Figure]:
    """Run all, write docs/benchmarks.md, return the figures with a goal."""
    _refuse_others()
    store = folder / "store"
    model = publish_all(store)
    direct = _direct(model)
    memory = {"plain TensorFlow": direct["pss_mb"], **_memory(store, folder)}
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(servers.millrace(store, models=IMAGE_MODEL))
        asked: list[tuple[str, Target]] = [
            ("no-op route", questions.nothing(stack.enter_context(servers.floor()).url)),
            ("millrace, V2", questions.v2_row(ours.url)),
            ("millrace, V1", questions.v1_row(ours.url)),
        ]
        for name, start in _rivals(model, folder):
            server = stack.enter_context(start())
            asked.append((name, (questions.bento_row if "Bento" in name else questions.v2_row)(server.url)))
        closed = _rounds(asked, folder, CONNECTIONS)
        opened = _rounds(asked, folder, RATES, is_open=True)
        images = _rounds(
            [
                ("binary", questions.v2_image(ours.url, binary=True)),
                ("JSON", questions.v2_image(ours.url, binary=False)),
            ],
            folder,
            (4,),
        )
    figures = _figures(closed, images, direct, memory)
    write_report(figures, closed, opened, images, direct, memory)
    return figures


def _refuse_others() -> None:
    """Nobody else may run TensorFlow: pages shared with it would count as less, and it might take the cores."""
    others = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any("_pywrap_tensorflow" in mapped.path for mapped in process.memory_maps()):
                others.append(process.pid)
    if others:
        sys.exit(f"make bench-serve: other processes have TensorFlow loaded, end them first: {others}")


def _memory(store: Path, folder: Path) -> dict[str, float]:
    """Of the server with the tabular model, after some load."""
    found = {}
    for name, workers in (("millrace", "1"), ("millrace, 4 workers", "4")):
        with servers.millrace(store, "--workers", workers) as server:
            ask(questions.v2_row(server.url), folder, connections=16, seconds=3)
            found[name] = server.pss_mb()
    return found


def _rivals(model: Path, folder: Path) -> list[tuple[str, Callable[[], Any]]]:
    return [
        ("MLServer, default", lambda: servers.mlserver(model, folder, tuned=False)),
        ("MLServer, tuned", lambda: servers.mlserver(model, folder, tuned=True)),
        ("BentoML, tuned", lambda: servers.bentoml(model, folder)),
    ]


def _direct(model: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.serving.direct", str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told: dict[str, float] = json.loads(done.stdout)
    return told


def _rounds(asked: list[tuple[str, Target]], folder: Path, levels: tuple[int, ...], *, is_open: bool = False) -> Table:
    """The median of some rounds, after one that counts for nothing."""
    seen: dict[tuple[str, int], list[Seen]] = defaultdict(list)
    for _, target in asked:
        ask(target, folder, connections=64, seconds=2)
    for _ in range(ROUNDS):
        for level in levels:
            for name, target in asked:
                load = {"connections": 256, "rate": level} if is_open else {"connections": level}
                one = ask(target, folder, seconds=SECONDS, **load)
                seen[name, level].append(one)
                kind = "req/s" if is_open else "connections"
                missed = f", {one.failed} failed" if one.failed else ""
                print(
                    f"{name:24} {level:5} {kind:11} {one.rate:8,.0f}/s, p50 {one.p50_ms:8.2f}, "
                    f"p99 {one.p99_ms:8.2f} ms{missed}",
                    file=sys.stderr,
                    flush=True,
                )
    return {key: _median(values) for key, values in seen.items()}


def _median(seen: list[Seen]) -> Seen:
    return Seen(
        statistics.median(s.rate for s in seen),
        statistics.median(s.p50_ms for s in seen),
        statistics.median(s.p99_ms for s in seen),
        sum(s.failed for s in seen),
        any(s.late for s in seen),
    )


def _figures(closed: Table, images: Table, direct: dict[str, float], memory: dict[str, float]) -> list[Figure]:
    ours, floor = closed["millrace, V2", 64], closed["no-op route", 64]
    tuned, default = closed["MLServer, tuned", 64], closed["MLServer, default", 64]
    bento = closed["BentoML, tuned", 64]
    alone, bound = closed["millrace, V2", 1].p50_ms, 2 * direct["p50_ms"] + 0.6
    share = memory["millrace"] / memory["plain TensorFlow"]
    return [
        _ratio("answers/s, 64 connections: against the no-op route", ours.rate, floor.rate, 0.7),
        _ratio("answers/s, 64 connections: against MLServer, tuned", ours.rate, tuned.rate, 3),
        _ratio("answers/s, 64 connections: against MLServer, default", ours.rate, default.rate, 6),
        _ratio("answers/s, 64 connections: against BentoML, tuned", ours.rate, bento.rate, 3),
        Figure(
            "p99, 64 connections: against MLServer, tuned",
            f"{ours.p99_ms:.1f} ms",
            f"{tuned.p99_ms:.1f} ms: {ours.p99_ms / tuned.p99_ms:.2f}",
            "<= 0.50",
            ours.p99_ms <= 0.5 * tuned.p99_ms,
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


def _ratio(what: str, got: float, beside: float, goal: float) -> Figure:
    return Figure(
        what, f"{got:,.0f}/s", f"{beside:,.0f}/s: {got / beside:.2f}x", f">= {goal:.2f}x", got / beside >= goal
    )
