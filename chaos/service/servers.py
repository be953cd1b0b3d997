"""Starts a real server with small real models, and builds valid requests for it."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from chaos.service.corpus import tensors
from chaos.service.wire import INFER, PREDICT, as_json, http
from millrace.models.store import ModelStore
from millrace.storage import Store
from serve.servables.functions.runtime import import_tensorflow
from tests.serve import models
from tests.serve.models import ROW

ROOT = Path(__file__).parents[2]
CODE = """
import json, sys
from millrace.config.sections.serve import ServedModel
from millrace.logs import configure_logging
from millrace.storage import Store
from serve.server import server
from tests.serve.products import product_of
if __name__ == "__main__":
    configure_logging()
    product = product_of("tiny", serve=json.loads(sys.argv[2]))
    server.run(product, Store(sys.argv[1]), on_ready=lambda address: print(address, flush=True))
"""


@dataclass
class RunningServer:
    """A server that was started.

    Attributes:
        address: URL of the server.
        process: The server process; the processes of its models descend from it.
        log: File with its log.
    """

    address: str
    process: "subprocess.Popen[str]"
    log: Path

    @property
    def family(self) -> list[psutil.Process]:
        """The server process and its descendants."""
        server = psutil.Process(self.process.pid)
        return [server, *server.children(recursive=True)]

    def pss_mb(self) -> float:
        """Return the memory of all processes (PSS: shared pages count once)."""
        return sum(process.memory_full_info().pss for process in self.family) / 2**20

    def private_mb(self) -> float:
        """Return the unshared memory of all processes (USS): a leak is in it, and other programs do not change it."""
        total = 0
        for process in self.family:
            with contextlib.suppress(psutil.NoSuchProcess):  # the process of an old model version has just ended
                total += process.memory_full_info().uss
        return total / 2**20

    def descriptors(self) -> int:
        """Return the number of open files of the server process."""
        return psutil.Process(self.process.pid).num_fds()

    def wait_accepted(self, connections: int, timeout_s: float = 30) -> None:
        """Wait until the server has accepted this many connections.

        The server has no metric of the requests in flight. This is the closest sign of them from outside.

        Raises:
            TimeoutError: The server has accepted fewer connections in this time.
        """
        end, ports = time.monotonic() + timeout_s, set[int]()
        while len(ports := ports | self._client_ports()) < connections:
            if time.monotonic() > end:
                raise TimeoutError(f"the server accepted {len(ports)} of {connections} connections in {timeout_s:g} s")
            time.sleep(0.01)

    def _client_ports(self) -> set[int]:
        """Return the client ports of the connections that the server has accepted and not yet closed."""
        server = psutil.Process(self.process.pid)
        return {each.raddr.port for each in server.net_connections("tcp") if each.status == psutil.CONN_ESTABLISHED}


def write_slow(folder: Path) -> None:
    """Write a model that computes for some milliseconds for any input."""
    tf = import_tensorflow()

    class Slow(tf.Module):  # type: ignore[name-defined, misc] # the base has no types
        def __init__(self) -> None:
            super().__init__()
            self.matrix = tf.Variable(tf.random.stateless_normal((256, 256), (1, 2)) / 16)

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, "x")])
        def serve(self, x: Any) -> dict[str, Any]:
            state = tf.eye(256) * x[0]
            for _ in tf.range(80):
                state = tf.tanh(state @ self.matrix)
            return {"y": x + state[0, 0]}

    module = Slow()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})


def fill_store(root: Path) -> ModelStore:
    """Create a store with the models `tiny`, `kinds`, and `slow`, which was not trained by Millrace."""
    write_slow(root / "models" / "slow" / "1")
    store = ModelStore(Store(str(root)))
    models.publish(store, "tiny", "binary")
    models.publish(store, "kinds", "multiclass")
    return store


@contextlib.contextmanager
def running(root: Path, **settings: Any) -> Iterator[RunningServer]:
    """Run a server on a free port; its processes are killed at the end of the block."""
    script, log = root.parent / f"{root.name}-server.py", root.parent / f"{root.name}-server.log"
    script.write_text(CODE)
    serve = {"port": 0, "models": {"kinds": {}}, **settings}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, str(script), str(root), json.dumps(serve)]
    with (
        log.open("a") as log_file,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log_file,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout
        try:
            address = process.stdout.readline().strip()
            assert address, log.read_text()[-2000:]
            yield RunningServer(address, process, log)
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                for each in reversed(RunningServer("", process, log).family):
                    each.kill()


def good_predict(**change: Any) -> bytes:
    """Build a V1 request; without changes the server returns 200."""
    return http("POST", PREDICT, as_json({"instances": [{**ROW, **change}]}))


def good_infer(**change: Any) -> bytes:
    """Build a V2 request; without changes the server returns 200."""
    return http("POST", INFER, as_json({"inputs": tensors({**ROW, **change})}))
