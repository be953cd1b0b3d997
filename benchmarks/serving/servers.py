"""Starts the compared servers, each with its own command line, and stops them."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from benchmarks.figures import FLIGHTS, ROOT

PEERS: Final = Path(__file__).parent / "peers"
START_S: Final = 120


@dataclass(frozen=True)
class RunningServer:
    """A server that was started.

    Attributes:
        name: Name in the table.
        url: Base URL.
        process: The first process of the server.
    """

    name: str
    url: str
    process: psutil.Process

    def pss_mb(self) -> float:
        """Return the memory of the server and its children (PSS: shared pages count once)."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(process.memory_full_info().pss for process in family) / 2**20


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def millrace(store: Path, *options: str, models: str = "{}") -> Iterator[RunningServer]:
    """Run Millrace with the tabular model and the named others."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("millrace")), "serve", str(FLIGHTS), "--port", str(port), *options]
    for setting in ("product=tabular", f"store.root={store}", f"serve.models={models}"):
        command += ["--set", setting]
    with _running("millrace", command, port, "/v2/health/ready") as server:
        yield server


@contextlib.contextmanager
def floor() -> Iterator[RunningServer]:
    """Run the no-op route."""
    port = free_port()
    with _running(
        "FastAPI, a route that does nothing",
        [sys.executable, "-m", "benchmarks.serving.floor", str(port)],
        port,
        "/docs",
    ) as server:
        yield server


@contextlib.contextmanager
def mlserver(model: Path, folder: Path, *, tuned: bool) -> Iterator[RunningServer]:
    """Run MLServer with default settings, or tuned: one process, batched requests, TensorFlow called inline."""
    port, home = free_port(), folder / f"mlserver-{'tuned' if tuned else 'default'}"
    home.mkdir(parents=True)
    settings = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port(), "host": "127.0.0.1"}
    batching = {"max_batch_size": 64, "max_batch_time": 0.005} if tuned else {}
    if tuned:
        settings["parallel_workers"] = 0
    (home / "settings.json").write_text(json.dumps(settings))
    model_settings = {"name": "tabular", "implementation": "mlserver_runtime.SavedModel", **batching}
    (home / "model-settings.json").write_text(json.dumps(model_settings))
    tuning = {"BENCH_INLINE": "1", "BENCH_FREEZE": "1"} if tuned else {}
    environment = {"BENCH_MODEL": str(model), "PYTHONPATH": str(PEERS), **tuning}
    name = "MLServer, tuned" if tuned else "MLServer, default"
    command = [str(peer_programs("mlserver") / "mlserver"), "start", str(home)]
    with _running(name, command, port, "/v2/models/tabular/ready", environment, home) as server:
        yield server


@contextlib.contextmanager
def bentoml(model: Path, folder: Path) -> Iterator[RunningServer]:
    """Run BentoML with two workers and adaptive batching."""
    port, home = free_port(), folder / "bentoml"
    home.mkdir(parents=True)
    environment = {
        "BENCH_MODEL": str(model),
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "1",
        "PATH": f"{peer_programs('bentoml')}:{os.environ['PATH']}",
    }
    command = [str(peer_programs("bentoml") / "bentoml"), "serve", "bento_service:SavedModel", "--port", str(port)]
    command += ["--host", "127.0.0.1", "--working-dir", str(PEERS)]
    with _running("BentoML, tuned", command, port, "/readyz", environment, PEERS) as server:
        yield server


def peer_programs(name: str) -> Path:
    """Return the folder of programs in the environment of another server.

    Raises:
        SystemExit: The environment is not installed.
    """
    folder = ROOT / ".venv" / "peers" / name / "bin"
    if not folder.is_dir():
        raise SystemExit(f"{folder} does not exist: run `make bench-serve`, which installs it")
    return folder


@contextlib.contextmanager
def _running(
    name: str,
    command: list[str],
    port: int,
    ready: str,
    environment: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
) -> Iterator[RunningServer]:
    url = f"http://127.0.0.1:{port}"
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})}
    log = Path(os.environ.get("TMPDIR", "/tmp"), f"bench-serve-{os.getpid()}-{port}.log")  # noqa: S108 - kept on failure
    with (
        log.open("wb") as out,
        subprocess.Popen(
            command, cwd=cwd, env={**os.environ, **quiet}, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        ) as process,
    ):
        family = [psutil.Process(process.pid)]
        try:
            _wait(url + ready, process, log)
            yield RunningServer(name, url, family[0])
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                family += family[0].children(recursive=True)
            process.terminate()
            _, alive = psutil.wait_procs(family, timeout=10)
            for left in alive:
                left.kill()
    log.unlink()


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):  # noqa: S310 - a local URL
            return
        time.sleep(0.1)
    raise SystemExit(f"{url} does not respond within {START_S} s, or the server ended; its log is {log}")
