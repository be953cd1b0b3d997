"""``make soak``: mixed load for half an hour, a new version every 30 s, one request of a hundred hostile."""

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
from chaos.place import say
from chaos.service.corpus import all_requests, tensors
from chaos.service.exchange import exchange, exchange_all
from chaos.service.faults import is_wrong
from chaos.service.place import Running, fill, running
from chaos.service.wire import INFER, PREDICT, as_json
from millrace.logs import configure_logging
from millrace.models.store import ModelStore
from tests.serve import models
from tests.serve.models import ROW

MINUTES: Final = float(os.environ.get("SOAK_MINUTES", "30"))
RATE: Final = 200
"""Good requests a second."""
HOSTILE: Final = 0.01
SWAP_S: Final = float(os.environ.get("SOAK_SWAP_S", "30"))
SWAP_WINDOW_S: Final = min(5.0, SWAP_S / 2)
"""From a publication until the new version answers, and a little longer."""
BIASES: Final = (0.0, 1.0)
"""Of the versions, in turns; they answer differently."""


@dataclass
class Seen:
    """What the load saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    """When, and what was said, if it was not 200."""
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    hostile: list[str] = field(default_factory=list)
    latencies: list[tuple[float, float]] = field(default_factory=list)
    """When a request should have started, and how long it took from then."""
    published: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)


def questions() -> list[tuple[str, bytes, dict[str, str], Callable[[Any], list[float]]]]:
    """Good requests: path, body, headers, and how to find the probabilities in the answer."""

    def from_rows(answer: Any) -> list[float]:
        return [row["probability"] for row in answer["predictions"]]

    def from_columns(answer: Any) -> list[float]:
        return list(answer["outputs"]["probability"])

    def from_tensors(answer: Any) -> list[float]:
        return list(next(t for t in answer["outputs"] if t["name"] == "probability")["data"])

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
    """The load on one server.

    Args:
        server: It.
        store: Where its models lie.
        exported: A version to publish for each bias.
    """

    def __init__(self, server: Running, store: ModelStore, exported: list[Any]) -> None:
        self.seen = Seen()
        self._server = server
        self._store = store
        self._exported = exported
        # A process of its own, as whoever trains has: in this one it would hold up those who measure.
        self._publisher = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        self._dice = random.Random(3)
        self._expected: list[float] = []
        self._end = 0.0

    async def run(self) -> None:
        """All of it."""
        # Once before anything is measured: who asks for a version by its number has it loaded, and it stays.
        await exchange_all(self._server.address, [request.raw for request in all_requests()])
        await asyncio.get_running_loop().run_in_executor(self._publisher, os.getpid)  # it is there
        self._end = time.monotonic() + MINUTES * 60
        connector = aiohttp.TCPConnector(limit=64)
        async with aiohttp.ClientSession(self._server.address, connector=connector) as session:
            tasks = [asyncio.create_task(each) for each in (self._publish(), self._watch(), self._attack())]
            await self._ask_all(session)
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._publisher.shutdown()

    async def _ask_all(self, session: aiohttp.ClientSession) -> None:
        asked, running = questions(), set[asyncio.Task[None]]()
        started, number = time.monotonic(), 0
        while (due := started + number / RATE) < self._end:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self._ask(session, asked[number % len(asked)], due))
            running.add(task)
            task.add_done_callback(running.discard)
            number += 1
        await asyncio.gather(*running)

    async def _ask(self, session: aiohttp.ClientSession, asked: Any, due: float) -> None:
        path, body, headers, read = asked
        try:
            async with session.post(path, data=body, headers=headers) as response:
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.seen.lost.append(repr(error))
            return
        self.seen.latencies.append((due, time.monotonic() - due))
        self.seen.statuses[response.status] += 1
        if response.status != 200:
            minute = MINUTES - (self._end - due) / 60
            self.seen.refused.append(f"minute {minute:.2f}: {response.status} {answer}"[:200])
        elif not all(self._is_expected(value) for value in read(answer)):
            self.seen.wrong.append(str(read(answer))[:100])

    def _is_expected(self, value: float) -> bool:
        """Whether it is the answer of a version; the first answers of each say what that is."""
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
            self.seen.published.append(time.monotonic())
            await asyncio.get_running_loop().run_in_executor(self._publisher, self._store.publish, *version)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(5)
            self.seen.memory_mb.append(await asyncio.to_thread(self._server.private_mb))
            self.seen.descriptors.append(self._server.descriptors())
            if len(self.seen.memory_mb) % 12 == 0:
                say(f"{dict(self.seen.statuses)}, {self.seen.memory_mb[-1]:.0f} MB, {self.seen.descriptors[-1]} files")

    async def _attack(self) -> None:
        host, port = self._server.address.removeprefix("http://").split(":")
        corpus = all_requests()
        while True:
            await asyncio.sleep(self._dice.expovariate(RATE * HOSTILE))
            request = self._dice.choice(corpus)
            answer = await exchange(host, int(port), request.raw)
            if is_wrong(answer):
                self.seen.hostile.append(f"{request.name}: {answer.status}")


def judge(seen: Seen) -> list[Goal]:
    """What was got of the goals."""
    total = sum(seen.statuses.values())
    tenth = max(1, len(seen.memory_mb) // 10)
    grown = np.median(seen.memory_mb[-tenth:]) - np.median(seen.memory_mb[tenth : 2 * tenth])
    files = max(seen.descriptors[-tenth:]) - max(seen.descriptors[tenth : 2 * tenth])
    during = [any(0 <= due - at < SWAP_WINDOW_S for at in seen.published) for due, _ in seen.latencies]
    taken = 1000 * np.array([seconds for _, seconds in seen.latencies])
    swap, steady = (np.percentile(taken[np.array(during) == which], 99) for which in (True, False))
    told = f"{swap:.1f} ms beside {steady:.1f} ms: {swap / steady:.2f}x"
    return [
        Goal(f"good requests answered otherwise, of {total:,}", "", len(seen.refused), 0, "; ".join(seen.refused[:5])),
        Goal("good requests without an answer", "", len(seen.lost), 0, "; ".join(seen.lost[:5])),
        Goal("answers of no version", "", len(seen.wrong), 0, "; ".join(seen.wrong[:5])),
        Goal("hostile requests answered wrongly", "", len(seen.hostile), 0, "; ".join(seen.hostile[:5])),
        Goal(f"memory grown by {grown:.0f} MB, at most 50", "", int(grown <= 50), 1, f"{grown:.0f} MB"),
        Goal(f"open files grown by {files}, at most 5", "", int(files <= 5), 1, str(files)),
        Goal(
            f"{len(seen.published)} swaps: p99 {told}, at most 1.5x",
            "",
            int(swap <= 1.5 * steady),
            1,
            told,
            is_timed=True,
        ),
    ]


def main() -> None:
    """Run it; exit 1 if a goal was missed."""
    configure_logging()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="millrace-soak-") as folder:
        root = Path(folder, "store")
        store, exported = fill(root), []
        for number, bias in enumerate(BIASES):
            place = Path(folder, f"export-{number}")
            exported.append((place, models.export(place, "tiny", "binary", bias=bias)))
        with running(root, reload_s=1.0) as server:
            soak = Soak(server, store, exported)
            asyncio.run(soak.run())
            goals = judge(soak.seen)
            said = server.log.read_text()
    bugs = said.count("Traceback")
    goals.append(Goal("stacks in its log", "", bugs, 0, said[said.find("Traceback") :][:2000] if bugs else ""))
    show(goals, time.monotonic() - started)
    sys.exit(any(not goal.held for goal in goals))


if __name__ == "__main__":
    main()
