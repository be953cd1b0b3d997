"""Starts the servers that are compared, each as its users would, and ends them."""

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

RIVALS: Final = Path(__file__).parent / "rivals"
START_S: Final = 120


@dataclass(frozen=True)
class Running:
    """A server.

    Attributes:
        name: For the table.
        url: Where it answers.
        process: Its first process.
    """

    name: str
    url: str
    process: psutil.Process

    def pss_mb(self) -> float:
        """Memory of it and its children; what several share counts once."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(process.memory_full_info().pss for process in family) / 2**20


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextlib.contextmanager
def millrace(store: Path, *options: str, models: str = "{}") -> Iterator[Running]:
    """Ours, as a user starts it: the tabular model, and others if they are named."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("millrace")), "serve", str(FLIGHTS), "--port", str(port), *options]
    for setting in ("product=tabular", f"store.root={store}", f"serve.models={models}"):
        command += ["--set", setting]
    with _running("millrace", command, port, "/v2/health/ready") as server:
        yield server


@contextlib.contextmanager
def floor() -> Iterator[Running]:
    """A route that does nothing."""
    port = free_port()
    with _running(
        "FastAPI, a route that does nothing",
        [sys.executable, "-m", "benchmarks.serving.floor", str(port)],
        port,
        "/docs",
    ) as server:
        yield server


@contextlib.contextmanager
def mlserver(model: Path, folder: Path, *, tuned: bool) -> Iterator[Running]:
    """MLServer: with default settings, or in one process with batched requests and TensorFlow called inline."""
    port, home = free_port(), folder / f"mlserver-{'tuned' if tuned else 'default'}"
    home.mkdir(parents=True)
    settings = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port(), "host": "127.0.0.1"}
    batching = {"max_batch_size": 64, "max_batch_time": 0.005} if tuned else {}
    if tuned:
        settings["parallel_workers"] = 0
    (home / "settings.json").write_text(json.dumps(settings))
    described = {"name": "tabular", "implementation": "mlserver_runtime.SavedModel", **batching}
    (home / "model-settings.json").write_text(json.dumps(described))
    tuning = {"BENCH_INLINE": "1", "BENCH_FREEZE": "1"} if tuned else {}
    environment = {"BENCH_MODEL": str(model), "PYTHONPATH": str(RIVALS), **tuning}
    name = "MLServer, tuned" if tuned else "MLServer, default"
    command = [str(rival("mlserver") / "mlserver"), "start", str(home)]
    with _running(name, command, port, "/v2/models/tabular/ready", environment, home) as server:
        yield server


@contextlib.contextmanager
def bentoml(model: Path, folder: Path) -> Iterator[Running]:
    """BentoML with two workers and adaptive batching."""
    port, home = free_port(), folder / "bentoml"
    home.mkdir(parents=True)
    environment = {
        "BENCH_MODEL": str(model),
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "1",
        "PATH": f"{rival('bentoml')}:{os.environ['PATH']}",
    }
    command = [str(rival("bentoml") / "bentoml"), "serve", "bento_service:SavedModel", "--port", str(port)]
    command += ["--host", "127.0.0.1", "--working-dir", str(RIVALS)]
    with _running("BentoML, tuned", command, port, "/readyz", environment, RIVALS) as server:
        yield server


def rival(name: str) -> Path:
    """The programs of another server's environment.

    Raises:
        SystemExit: It is not there.
    """
    folder = ROOT / ".venv" / "rivals" / name / "bin"
    if not folder.is_dir():
        raise SystemExit(f"{folder} is not there: run `make bench-serve`")
    return folder


@contextlib.contextmanager
def _running(
    name: str,
    command: list[str],
    port: int,
    ready: str,
    environment: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
) -> Iterator[Running]:
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
            yield Running(name, url, family[0])
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
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own
            return
        time.sleep(0.1)
    raise SystemExit(f"{url} does not answer; the server's words are in {log}")
