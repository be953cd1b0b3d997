"""Run the soak test (``make soak``): mixed load for half an hour, with new model versions and 1 % bad requests."""

import asyncio
import contextlib
import gzip
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import numpy as np

from chaos.goals import Goal, show
from chaos.service.corpus import all_requests, tensors
from chaos.service.exchange import exchange, exchange_all
from chaos.service.faults import is_wrong
from chaos.service.servers import RunningServer, fill_store, running
from chaos.service.wire import INFER, PREDICT, as_json
from chaos.workspace import report
from millrace.logs import configure_logging
from millrace.models.store import ModelStore
from tests.serve import models
from tests.serve.models import ROW

MINUTES: Final = float(os.environ.get("SOAK_MINUTES", "30"))
RATE: Final = 200
"""Good requests per second."""
HOSTILE: Final = 0.01
"""Bad requests per good one."""
SWAP_S: Final = float(os.environ.get("SOAK_SWAP_S", "30"))
"""Seconds between two new versions."""
SWAP_WINDOW_S: Final = min(5.0, SWAP_S / 2)
"""Seconds after a publication that count as a swap; the new version is loaded within them."""
BIASES: Final = (0.0, 1.0)
"""Biases of the models that are published in turn; their predictions differ."""


@dataclass
class SoakResult:
    """What the soak test measured."""

    statuses: Counter[int] = field(default_factory=Counter)
    """Responses to good requests, by status."""
    refused: list[str] = field(default_factory=list)
    """Good requests with another status than 200: time and response."""
    lost: list[str] = field(default_factory=list)
    """Good requests without a response: the exception."""
    wrong: list[str] = field(default_factory=list)
    """Predictions that no published version gives."""
    hostile: list[str] = field(default_factory=list)
    """Bad requests with a wrong response."""
    latencies: list[tuple[float, float]] = field(default_factory=list)
    """Planned start of each request, and seconds from then to the response."""
    published: list[float] = field(default_factory=list)
    """Times of the publications."""
    memory_mb: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)


GoodRequest = tuple[str, bytes, dict[str, str], Callable[[Any], list[float]]]
"""Path, body, headers, and a function that returns the probabilities in the response."""


def good_requests() -> list[GoodRequest]:
    """Return one request of each kind that the load sends."""

    def from_rows(response: Any) -> list[float]:
        return [row["probability"] for row in response["predictions"]]

    def from_columns(response: Any) -> list[float]:
        return list(response["outputs"]["probability"])

    def from_tensors(response: Any) -> list[float]:
        return list(next(t for t in response["outputs"] if t["name"] == "probability")["data"])

    plain = {"content-type": "application/json"}
    rows = as_json({"instances": [ROW] * 16})
    return [
        (PREDICT, as_json({"instances": [ROW]}), plain, from_rows),
        (PREDICT, rows, plain, from_rows),
        (PREDICT, gzip.compress(rows), {**plain, "content-encoding": "gzip"}, from_rows),
        (PREDICT, as_json({"inputs": {name: [value] * 4 for name, value in ROW.items()}}), plain, from_columns),
        (INFER, as_json({"inputs": tensors()}), plain, from_tensors),
    ]


class Soak:
    """Runs the mixed load on one server.

    Args:
        server: The server under test.
        store: The store of its models.
        exported: For each bias, the folder and manifest of a version to publish.
    """

    def __init__(self, server: RunningServer, store: ModelStore, exported: list[Any]) -> None:
        self.result = SoakResult()
        self._server = server
        self._store = store
        self._exported = exported
        # Publishing runs in another process, as training does; in this one it would delay the measurements.
        self._publisher = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        self._rng = random.Random(3)
        self._expected: list[float] = []
        self._end = 0.0

    async def run(self) -> None:
        """Run the load, the publications and the measurements until the end of the test."""
        # Before the measurements: a request for a version by number loads that version, and it stays loaded.
        await exchange_all(self._server.address, [request.raw for request in all_requests()])
        await asyncio.get_running_loop().run_in_executor(self._publisher, os.getpid)  # starts the process
        self._end = time.monotonic() + MINUTES * 60
        connector = aiohttp.TCPConnector(limit=64)
        async with aiohttp.ClientSession(self._server.address, connector=connector) as session:
            tasks = [asyncio.create_task(each) for each in (self._publish(), self._watch(), self._attack())]
            await self._send_all(session)
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._publisher.shutdown()

    async def _send_all(self, session: aiohttp.ClientSession) -> None:
        requests, pending = good_requests(), set[asyncio.Task[None]]()
        started, number = time.monotonic(), 0
        while (due := started + number / RATE) < self._end:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self._send(session, requests[number % len(requests)], due))
            pending.add(task)
            task.add_done_callback(pending.discard)
            number += 1
        await asyncio.gather(*pending)

    async def _send(self, session: aiohttp.ClientSession, request: GoodRequest, due: float) -> None:
        path, body, headers, probabilities_of = request
        try:
            async with session.post(path, data=body, headers=headers) as response:
                document = await response.json()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.result.lost.append(repr(error))
            return
        self.result.latencies.append((due, time.monotonic() - due))
        self.result.statuses[response.status] += 1
        if response.status != 200:
            minute = MINUTES - (self._end - due) / 60
            self.result.refused.append(f"minute {minute:.2f}: {response.status} {document}"[:200])
        elif not all(self._is_expected(value) for value in probabilities_of(document)):
            self.result.wrong.append(str(probabilities_of(document))[:100])

    def _is_expected(self, value: float) -> bool:
        """Whether a version gives this prediction; the first prediction of each version defines the expected one."""
        if any(abs(value - known) < 1e-5 for known in self._expected):
            return True
        self._expected.append(value)
        return len(self._expected) <= len(BIASES)

    async def _publish(self) -> None:
        number = 0
        while True:
            await asyncio.sleep(SWAP_S)
            number += 1
            version = self._exported[number % len(self._exported)]
            self.result.published.append(time.monotonic())
            await asyncio.get_running_loop().run_in_executor(self._publisher, self._store.publish, *version)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(5)
            self.result.memory_mb.append(await asyncio.to_thread(self._server.private_mb))
            self.result.descriptors.append(self._server.descriptors())
            if len(self.result.memory_mb) % 12 == 0:
                memory_mb, files = self.result.memory_mb[-1], self.result.descriptors[-1]
                report(f"{dict(self.result.statuses)}, {memory_mb:.0f} MB, {files} files")

    async def _attack(self) -> None:
        host, port = self._server.address.removeprefix("http://").split(":")
        corpus = all_requests()
        while True:
            await asyncio.sleep(self._rng.expovariate(RATE * HOSTILE))
            request = self._rng.choice(corpus)
            response = await exchange(host, int(port), request.raw)
            if is_wrong(response):
                self.result.hostile.append(f"{request.name}: {response.status}")


def judge(result: SoakResult) -> list[Goal]:
    """Compare the measurements with the goals."""
    total = sum(result.statuses.values())
    tenth = max(1, len(result.memory_mb) // 10)
    growth = np.median(result.memory_mb[-tenth:]) - np.median(result.memory_mb[tenth : 2 * tenth])
    more_files = max(result.descriptors[-tenth:]) - max(result.descriptors[tenth : 2 * tenth])
    is_swap = [any(0 <= due - at < SWAP_WINDOW_S for at in result.published) for due, _ in result.latencies]
    latencies_ms = 1000 * np.array([seconds for _, seconds in result.latencies])
    swap, steady = (np.percentile(latencies_ms[np.array(is_swap) == which], 99) for which in (True, False))
    compared = f"{swap:.1f} ms against {steady:.1f} ms at other times: {swap / steady:.2f}x"
    return [
        Goal(
            f"good requests with another status than 200, of {total:,}",
            "",
            len(result.refused),
            0,
            "; ".join(result.refused[:5]),
        ),
        Goal("good requests without a response", "", len(result.lost), 0, "; ".join(result.lost[:5])),
        Goal("predictions that no version gives", "", len(result.wrong), 0, "; ".join(result.wrong[:5])),
        Goal("hostile requests with a wrong response", "", len(result.hostile), 0, "; ".join(result.hostile[:5])),
        Goal(f"growth of memory, {growth:.0f} MB, at most 50", "", int(growth <= 50), 1, f"{growth:.0f} MB"),
        Goal(f"growth of open files, {more_files}, at most 5", "", int(more_files <= 5), 1, str(more_files)),
        Goal(
            f"p99 during {len(result.published)} swaps, {compared}, at most 1.5x",
            "",
            int(swap <= 1.5 * steady),
            1,
            compared,
            is_timed=True,
        ),
    ]


def main() -> None:
    """Run the soak test; exit with 1 if a goal was missed."""
    configure_logging()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="millrace-soak-") as folder:
        root = Path(folder, "store")
        store, exported = fill_store(root), []
        for number, bias in enumerate(BIASES):
            export = Path(folder, f"export-{number}")
            exported.append((export, models.export(export, "tiny", "binary", bias=bias)))
        with running(root, reload_s=1.0) as server:
            soak = Soak(server, store, exported)
            asyncio.run(soak.run())
            goals = judge(soak.result)
            log = server.log.read_text()
    tracebacks = log.count("Traceback")
    reason = log[log.find("Traceback") :][:2000] if tracebacks else ""
    goals.append(Goal("tracebacks in the server's log", "", tracebacks, 0, reason))
    show(goals, time.monotonic() - started)
    sys.exit(any(not goal.is_reached for goal in goals))


if __name__ == "__main__":
    main()
