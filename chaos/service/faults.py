"""Fault tests of the service, by part: bad requests, overload, slow clients, signals and killed processes."""

import asyncio
import contextlib
import os
import signal
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.serving.load import LoadResult, Target, run_load
from chaos.goals import Goal
from chaos.service.corpus import Hostile, all_requests
from chaos.service.exchange import Response, exchange_all
from chaos.service.generated import generate
from chaos.service.servers import RunningServer, good_infer, good_predict, running
from chaos.service.wire import PREDICT, as_json, http
from tests.serve.models import POISON, ROW

MAX_ERROR_BYTES = 4096
ALLOWED = {501}
"""5xx statuses that the protocols require for some bad requests."""
CALM_S, AFTER_S = 30.0, 10.0
"""Durations of the loads before and after the overload."""


def hostile(server: RunningServer, requests: Sequence[Hostile], name: str) -> Iterator[Goal]:
    """Send bad requests: none gets a 5xx status, a timeout or a long error, and good requests still succeed after."""
    responses = asyncio.run(exchange_all(server.address, [request.raw for request in requests]))
    wrong = [
        f"{request.name}: {response.status} {response.body[:80]!r}"
        for request, response in zip(requests, responses, strict=True)
        if is_wrong(response)
    ]
    yield Goal(name, "", len(requests) - len(wrong), len(requests), "; ".join(wrong[:20]))
    refusals_ms = [response.seconds * 1000 for response in responses if 400 <= response.status < 500]
    p99 = float(np.percentile(refusals_ms, 99))
    yield _timed_goal(f"... p99 of {len(refusals_ms)} refusals", f"{p99:.0f} ms", "at most 50", p99 <= 50)
    after = asyncio.run(exchange_all(server.address, [good_predict(), good_infer()] * 10))
    yield Goal("... good requests after them", "", _count(after, 200), 20)


def is_wrong(response: Response) -> bool:
    """Whether a response breaks a rule. A connection that the server closes without a response does not."""
    if response.status < 0 or (response.status >= 500 and response.status not in ALLOWED):
        return True
    return response.status >= 400 and len(response.body) > MAX_ERROR_BYTES


def _count(responses: Sequence[Response], status: int) -> int:
    return sum(response.status == status for response in responses)


def _timed_goal(name: str, measured: str, limit: str, is_reached: bool) -> Goal:
    return Goal(f"{name}, {measured}, {limit}", "", int(is_reached), 1, measured, is_timed=True)


def corpus(root: Path, generated: int = 2_000) -> Iterator[Goal]:
    """Send the hand-written and the generated bad requests."""
    with running(root) as server:
        requests = all_requests()
        yield from hostile(server, requests, f"hostile requests, hand-written ({len(requests)})")
        yield from hostile(server, generate(generated, 5), f"hostile requests, generated ({generated})")


def stopped(root: Path, requests: int = 50) -> Iterator[Goal]:
    """Send SIGTERM while requests are in flight: the server answers them and exits with 0."""
    raw = http("POST", PREDICT, as_json({"instances": [ROW] * 8_000}))
    responses: list[Response] = []

    def load() -> None:
        responses.extend(asyncio.run(exchange_all(server.address, [raw] * requests, concurrency=requests)))

    with running(root, max_queued_rows=1_000_000) as server:
        thread = threading.Thread(target=load)
        thread.start()
        server.wait_accepted(requests)
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        code = server.process.wait(60)
        seconds = time.monotonic() - started
        thread.join()
    statuses = str(Counter(response.status for response in responses))
    yield Goal(
        f"SIGTERM with {requests} requests in flight: status 200", "", _count(responses, 200), requests, statuses
    )
    yield Goal("... exit code 0", "", int(code == 0), 1, f"exit {code}")
    yield _timed_goal("... ended in", f"{seconds:.1f} s", "at most 30", seconds <= 30)


def poison(root: Path, rounds: int = 1_000) -> Iterator[Goal]:
    """Send batches of eight requests of which one is poison: only that one is refused.

    Poison is a request that would fail a whole batch: a wrong type, or values for which the model returns NaN.
    """
    bad = [good_predict(amount=POISON), good_predict(city=None), good_infer(amount=POISON), good_predict(amount="x")]
    with running(root) as server:
        failed, refused = 0, 0
        for number in range(rounds):
            batch = [good_predict(), good_infer()] * 4
            position = number % 8
            batch[position] = bad[number % len(bad)]
            responses = asyncio.run(exchange_all(server.address, batch))
            refused += responses[position].status == 400
            failed += sum(response.status != 200 for n, response in enumerate(responses) if n != position)
    yield Goal(f"good requests that failed beside a bad one, of {7 * rounds:,}", "", failed, 0)
    yield Goal("... bad requests refused", "", refused, rounds)


@dataclass(frozen=True)
class _Overload:
    """What the overload test measured.

    Attributes:
        capacity: Responses per second of the server without a latency target.
        calm: Result at 0.8 times the capacity, before the overload.
        storm: Result at 5 times the capacity.
        after: Result at 0.8 times the capacity, 5 s after the overload.
        growth_mb: Growth of memory during the overload.
    """

    capacity: float
    calm: LoadResult
    storm: LoadResult
    after: LoadResult
    growth_mb: float


def overload(root: Path, folder: Path, seconds: float = 60) -> Iterator[Goal]:
    """Send five times as many requests as the model can answer: the server refuses the excess quickly.

    The model takes so long that refusals cost little in comparison. With a fast model, the server, the model and the
    load generator would compete for the same two cores, and all three would be overloaded.
    """
    measured = _measure_overload(root, folder, seconds)
    calm, storm = measured.calm, measured.storm
    refused = storm.refused_p99_ms
    yield _timed_goal("overload 5x: p99 of status 429", f"{refused:.0f} ms", "at most 50 ms", refused <= 50)
    compared = f"{storm.good_p99_ms:.0f} ms against {calm.p99_ms:.0f} ms without overload"
    yield _timed_goal("... p99 of status 200", compared, "at most 2x", storm.good_p99_ms <= 2 * calm.p99_ms)
    share = storm.rate / measured.capacity
    rates = f"{storm.rate:,.0f}/s of {measured.capacity:,.0f}/s: {share:.2f}"
    yield _timed_goal("... status 200 per second", rates, "at least 0.9", share >= 0.9)
    growth = measured.growth_mb
    yield _timed_goal("... growth of memory", f"{growth:.0f} MB", "at most 200", growth <= 200)
    yield _recovery(calm, measured.after)


def _measure_overload(root: Path, folder: Path, seconds: float) -> _Overload:
    def load(server: RunningServer, connections: int, seconds: float, rate: float | None = None) -> LoadResult:
        target = Target(server.address + "/v1/models/slow:predict", as_json({"instances": [1.0]}))
        return run_load(target, folder, connections=connections, seconds=seconds, rate=rate)

    slow = {"allow_foreign": True}
    with contextlib.ExitStack() as stack:
        unlimited = stack.enter_context(running(root, models={"slow": slow}))
        load(unlimited, 16, 3)
        # The capacity is measured before and after, because the machine's speed changes by 5 % and more in a minute.
        first = load(unlimited, 16, 10).rate
        # A latency target of four requests: one runs, one is next, and two are spare for when the model is slower.
        server = stack.enter_context(running(root, models={"slow": {**slow, "latency_target_s": 4 / first}}))
        load(server, 2, 3)
        calm = load(server, 256, CALM_S, 0.8 * first)
        before_mb = server.pss_mb()
        storm = load(server, 500, seconds, 5 * first)
        growth_mb = server.pss_mb() - before_mb
        time.sleep(5)
        after = load(server, 256, AFTER_S, 0.8 * first)
        capacity = statistics.mean((first, load(unlimited, 16, 10).rate))
    return _Overload(capacity, calm, storm, after, growth_mb)


def _recovery(calm: LoadResult, after: LoadResult) -> Goal:
    # Both loads have refusals: several requests that come at the same moment can exceed the latency target.
    before_share, after_share = (
        result.failed / (result.failed + result.rate * seconds)
        for result, seconds in ((calm, CALM_S), (after, AFTER_S))
    )
    measured = f"p99 {after.p99_ms:.0f} ms against {calm.p99_ms:.0f} ms"
    measured += f", refused {after_share:.1%} against {before_share:.1%}"
    is_recovered = after.p99_ms <= 2 * calm.p99_ms and after_share <= before_share + 0.01
    return Goal(f"... 5 s later, {measured}", "", int(is_recovered), 1, measured, is_timed=True)


def slow(root: Path, folder: Path, connections: int = 500) -> Iterator[Goal]:
    """Open connections that send half a head or half a body and stop: they are closed, and other requests stay fast."""
    with running(root) as server:
        host, port = server.address.removeprefix("http://").split(":")
        target = Target(server.address + PREDICT, as_json({"instances": [ROW]}))

        def median_p99(seconds: float) -> float:
            results = (run_load(target, folder, connections=16, seconds=seconds, rate=300) for _ in range(3))
            return statistics.median(result.p99_ms for result in results)

        run_load(target, folder, connections=16, seconds=3)
        alone = median_p99(4)
        halves = [good_predict()[:30], good_predict()[:-20]]
        opened = time.monotonic()
        held = [socket.create_connection((host, int(port)), timeout=60) for _ in range(connections)]
        for number, connection in enumerate(held):
            connection.sendall(halves[number % 2])
        beside = median_p99(2.5)
        late = 0
        for connection in held:
            while connection.recv(65_536):
                pass
            late += time.monotonic() - opened > 15 + 3
            connection.close()
    yield Goal(f"{connections} slow connections closed in time", "", connections - late, connections)
    measured = f"{beside:.1f} ms against {alone:.1f} ms"
    yield _timed_goal("... p99 of other requests meanwhile", measured, "at most 2x", beside <= 2 * alone)


def killed(root: Path, kills: int = 5) -> Iterator[Goal]:
    """Kill a model's process, then the server, with SIGKILL."""
    yield from _kill_models(root, kills)
    yield from _kill_server(root)


def _kill_models(root: Path, kills: int) -> Iterator[Goal]:
    """Kill the models' processes under load: no request fails, and the server restarts them."""
    responses: list[Response] = []
    done = threading.Event()

    def load() -> None:
        while not done.is_set():
            responses.extend(asyncio.run(exchange_all(server.address, [good_predict(), good_infer()] * 10)))

    with running(root) as server:
        thread = threading.Thread(target=load)
        thread.start()
        recovery_s: list[float] = []
        for _ in range(kills):
            time.sleep(1)
            for process in models_of(server):
                process.kill()
            started = time.monotonic()
            while _count(asyncio.run(exchange_all(server.address, [good_predict()])), 200) < 1:
                time.sleep(0.01)
            recovery_s.append(time.monotonic() - started)
        done.set()
        thread.join()
    failed = len(responses) - _count(responses, 200)
    statuses = str(Counter(response.status for response in responses))
    name = f"model processes killed {kills} times under load: failed requests, of {len(responses):,}"
    yield Goal(name, "", failed, 0, statuses)
    slowest = max(recovery_s)
    yield _timed_goal("... status 200 again after", f"{slowest:.1f} s", "at most 3", slowest <= 3)


def _kill_server(root: Path) -> Iterator[Goal]:
    """Kill the server: its child processes end, and a new server starts."""
    with running(root) as server:
        os.kill(server.process.pid, signal.SIGKILL)
        family = server.family[1:] if psutil.pid_exists(server.process.pid) else []
        server.process.wait()
        _, left = psutil.wait_procs(family, timeout=20)
    started = time.monotonic()
    with running(root) as server:
        seconds = time.monotonic() - started
    yield Goal("server killed: child processes that still run", "", len(left), 0)
    yield _timed_goal("... a new server is ready after", f"{seconds:.1f} s", "at most 10", seconds <= 10)


def models_of(server: RunningServer) -> list[psutil.Process]:
    """Return the processes of the models: grandchildren of the server, forked from a child that imports TensorFlow."""
    process = psutil.Process(server.process.pid)
    children = process.children()
    return [each for each in process.children(recursive=True) if each not in children]


def parts(root: Path, folder: Path) -> dict[str, Any]:
    """Return every part, as a function without arguments, by name."""
    return {
        "corpus": lambda: corpus(root),
        "stopped": lambda: stopped(root),
        "poison": lambda: poison(root),
        "overload": lambda: overload(root, folder),
        "slow": lambda: slow(root, folder),
        "killed": lambda: killed(root),
    }
