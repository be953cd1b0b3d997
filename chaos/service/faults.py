"""Goals of the service: what clients, and the machine, do to it, and what has to hold."""

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
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.serving.load import Seen, Target, ask
from chaos.goals import Goal
from chaos.service.corpus import Hostile, all_requests
from chaos.service.exchange import Answer, exchange_all
from chaos.service.generated import generate
from chaos.service.place import Running, good_infer, good_predict, running
from chaos.service.wire import PREDICT, as_json, http
from tests.serve.models import POISON, ROW

MAX_ERROR_BYTES = 4096
ALLOWED = {501}
"""What a protocol's rule says beside the client's own errors."""


def hostile(server: Running, requests: Sequence[Hostile], what: str) -> Iterator[Goal]:
    """None is answered 5xx, hangs, or gets a long error; afterwards the server answers as before."""
    answers = asyncio.run(exchange_all(server.address, [request.raw for request in requests]))
    bad = [
        f"{request.name}: {answer.status} {answer.body[:80]!r}"
        for request, answer in zip(requests, answers, strict=True)
        if is_wrong(answer)
    ]
    yield Goal(what, "", len(requests) - len(bad), len(requests), "; ".join(bad[:20]))
    refusals = [answer.seconds * 1000 for answer in answers if 400 <= answer.status < 500]
    p99 = float(np.percentile(refusals, 99))
    yield Goal(
        f"... p99 of {len(refusals)} refusals, {p99:.0f} ms, at most 50",
        "",
        int(p99 <= 50),
        1,
        f"{p99:.0f} ms",
        is_timed=True,
    )
    after = asyncio.run(exchange_all(server.address, [good_predict(), good_infer()] * 10))
    yield Goal("... good requests afterwards", "", sum(a.status == 200 for a in after), 20)


def is_wrong(answer: Answer) -> bool:
    """Whether an answer breaks a rule; a connection that is closed without one does not."""
    if answer.status < 0 or (answer.status >= 500 and answer.status not in ALLOWED):
        return True
    return answer.status >= 400 and len(answer.body) > MAX_ERROR_BYTES


def corpus(root: Path, generated: int = 2_000) -> Iterator[Goal]:
    """G1: hand-made and generated requests."""
    with running(root) as server:
        made = all_requests()
        yield from hostile(server, made, f"hostile requests by hand ({len(made)})")
        yield from hostile(server, generate(generated, 5), f"hostile requests generated ({generated})")


def stopped(root: Path, requests: int = 50) -> Iterator[Goal]:
    """G7: SIGTERM while requests are in flight."""
    raw = http("POST", PREDICT, as_json({"instances": [ROW] * 8_000}))
    with running(root, max_queued_rows=1_000_000) as server:
        answers: list[Answer] = []
        load = threading.Thread(
            target=lambda: answers.extend(asyncio.run(exchange_all(server.address, [raw] * requests, at_once=requests)))
        )
        load.start()
        time.sleep(1.0)
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        code = server.process.wait(60)
        seconds = time.monotonic() - started
        load.join()
    good = sum(answer.status == 200 for answer in answers)
    yield Goal(
        f"SIGTERM with {requests} in flight: answered", "", good, requests, str(Counter(a.status for a in answers))
    )
    yield Goal("... exit code 0", "", int(code == 0), 1, f"exit {code}")
    yield Goal(f"... ended in {seconds:.1f} s, at most 30", "", int(seconds <= 30), 1, is_timed=True)


def poison(root: Path, rounds: int = 1_000) -> Iterator[Goal]:
    """G8: one bad request among eight that share a batch."""
    bad = [good_predict(amount=POISON), good_predict(city=None), good_infer(amount=POISON), good_predict(amount="x")]
    with running(root) as server:
        failed, refused = 0, 0
        for number in range(rounds):
            batch = [good_predict(), good_infer()] * 4
            at = number % 8
            batch[at] = bad[number % len(bad)]
            answers = asyncio.run(exchange_all(server.address, batch))
            refused += answers[at].status == 400
            failed += sum(answer.status != 200 for n, answer in enumerate(answers) if n != at)
    yield Goal(f"neighbours of a bad request that failed, of {7 * rounds:,}", "", failed, 0)
    yield Goal("... bad requests refused", "", refused, rounds)


def overload(root: Path, folder: Path, seconds: float = 60) -> Iterator[Goal]:
    """G9: five times of what it can do.

    The model is what is overloaded, and it thinks long enough that refusing the others costs little beside it: where an
    answer costs no more than a refusal, and the generator runs on the same two cores, all three are overloaded.
    """

    def ask_slow(server: Running, connections: int, seconds: float, rate: float | None = None) -> Seen:
        target = Target(server.address + "/v1/models/slow:predict", as_json({"instances": [1.0]}))
        return ask(target, folder, connections=connections, seconds=seconds, rate=rate)

    slow = {"allow_foreign": True}
    with contextlib.ExitStack() as stack:
        unlimited = stack.enter_context(running(root, models={"slow": slow}))
        ask_slow(unlimited, 16, 3)
        # Before and after: what the machine can do changes by 5 % and more from one minute to the next.
        first = ask_slow(unlimited, 16, 10).rate
        # Room for four: one is answered, one is next, and two more if an answer takes longer than the last ones did.
        server = stack.enter_context(running(root, models={"slow": {**slow, "latency_target_s": 4 / first}}))
        ask_slow(server, 2, 3)
        calm = ask_slow(server, 256, 30, 0.8 * first)
        before = server.rss_mb()
        storm = ask_slow(server, 500, seconds, 5 * first)
        grown = server.rss_mb() - before
        time.sleep(5)
        after = ask_slow(server, 256, 10, 0.8 * first)
        capacity = statistics.mean((first, ask_slow(unlimited, 16, 10).rate))
    told = f"{storm.refused_p99_ms:.0f} ms"
    yield Goal(
        f"overload 5x: p99 of 429, {told}, at most 50 ms", "", int(storm.refused_p99_ms <= 50), 1, told, is_timed=True
    )
    ratio = storm.good_p99_ms / calm.p99_ms
    told = f"{storm.good_p99_ms:.0f} ms beside {calm.p99_ms:.0f} ms"
    yield Goal(f"... p99 of 200, {told}, at most 2x", "", int(ratio <= 2), 1, told, is_timed=True)
    share = storm.rate / capacity
    told = f"{storm.rate:,.0f}/s of {capacity:,.0f}/s: {share:.2f}"
    yield Goal(f"... answered, {told}, at least 0.9", "", int(share >= 0.9), 1, told, is_timed=True)
    yield Goal(
        f"... memory grown by {grown:.0f} MB, at most 200", "", int(grown <= 200), 1, f"{grown:.0f} MB", is_timed=True
    )
    # Both refuse whom a cluster of requests would make late.
    shares = [seen.failed / (seen.failed + seen.rate * lasted) for seen, lasted in ((after, 10), (calm, 30))]
    told = f"p99 {after.p99_ms:.0f} ms beside {calm.p99_ms:.0f} ms, {shares[0]:.1%} refused beside {shares[1]:.1%}"
    as_before = after.p99_ms <= 2 * calm.p99_ms and shares[0] <= shares[1] + 0.01
    yield Goal(f"... 5 s later, {told}", "", int(as_before), 1, told, is_timed=True)


def slow(root: Path, folder: Path, connections: int = 500) -> Iterator[Goal]:
    """G10: connections that send half a head, or half a body, and stop."""
    with running(root) as server:
        host, port = server.address.removeprefix("http://").split(":")
        target = Target(server.address + PREDICT, as_json({"instances": [ROW]}))
        ask(target, folder, connections=16, seconds=3)
        alone = statistics.median(ask(target, folder, connections=16, seconds=4, rate=300).p99_ms for _ in range(3))
        halves = [good_predict()[:30], good_predict()[:-20]]
        opened = time.monotonic()
        held = [socket.create_connection((host, int(port)), timeout=60) for _ in range(connections)]
        for number, connection in enumerate(held):
            connection.sendall(halves[number % 2])
        beside = statistics.median(ask(target, folder, connections=16, seconds=2.5, rate=300).p99_ms for _ in range(3))
        late = 0
        for connection in held:
            while connection.recv(65_536):
                pass
            late += time.monotonic() - opened > 15 + 3
            connection.close()
    yield Goal(f"{connections} slow connections closed in time", "", connections - late, connections)
    told = f"p99 {beside:.1f} ms beside {alone:.1f} ms"
    yield Goal(f"... others meanwhile, {told}, at most 2x", "", int(beside <= 2 * alone), 1, told, is_timed=True)


def killed(root: Path, kills: int = 5) -> Iterator[Goal]:
    """G11: a model's process, then the server, ended by kill -9 under load."""
    with running(root) as server:
        done = threading.Event()
        answers: list[Answer] = []

        def load() -> None:
            while not done.is_set():
                answers.extend(asyncio.run(exchange_all(server.address, [good_predict(), good_infer()] * 10)))

        loading = threading.Thread(target=load)
        loading.start()
        back: list[float] = []
        for _ in range(kills):
            time.sleep(1)
            for process in models_of(server):
                process.kill()
            started = time.monotonic()
            while any(a.status != 200 for a in asyncio.run(exchange_all(server.address, [good_predict()]))):
                time.sleep(0.01)
            back.append(time.monotonic() - started)
        done.set()
        loading.join()
        lost = sum(answer.status != 200 for answer in answers)
    told = str(Counter(answer.status for answer in answers))
    yield Goal(f"model processes killed {kills} times under load: of {len(answers):,} lost", "", lost, 0, told)
    yield Goal(f"... answered again after {max(back):.1f} s, at most 3", "", int(max(back) <= 3), 1, is_timed=True)
    with running(root) as server:
        os.kill(server.process.pid, signal.SIGKILL)
        family = server.family[1:] if psutil.pid_exists(server.process.pid) else []
        server.process.wait()
        _, left = psutil.wait_procs(family, timeout=20)
    started = time.monotonic()
    with running(root) as server:
        seconds = time.monotonic() - started
    yield Goal("server killed: its processes that stay", "", len(left), 0)
    yield Goal(f"... a new one is ready after {seconds:.1f} s, at most 10", "", int(seconds <= 10), 1, is_timed=True)


def models_of(server: Running) -> list[psutil.Process]:
    """The processes of its models: grandchildren, forked from one that has imported TensorFlow."""
    mine = psutil.Process(server.process.pid)
    children = mine.children()
    return [process for process in mine.children(recursive=True) if process not in children]


def parts(root: Path, folder: Path) -> dict[str, Any]:
    """Every part by name."""
    return {
        "corpus": lambda: corpus(root),
        "stopped": lambda: stopped(root),
        "poison": lambda: poison(root),
        "overload": lambda: overload(root, folder),
        "slow": lambda: slow(root, folder),
        "killed": lambda: killed(root),
    }
