"""A real server over real models, and good requests to it."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from chaos.service.corpus import tensors
from chaos.service.wire import INFER, PREDICT, as_json, http
from millrace.models.store import ModelStore
from millrace.storage import Store
from serve.servables.saved_model import import_tensorflow
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
class Running:
    """A server.

    Attributes:
        address: Where it answers.
        process: Its first process; models are its children.
        log: What it said.
    """

    address: str
    process: "subprocess.Popen[str]"
    log: Path

    @property
    def family(self) -> list[psutil.Process]:
        """It and its children."""
        mine = psutil.Process(self.process.pid)
        return [mine, *mine.children(recursive=True)]

    def rss_mb(self) -> float:
        """Memory of all; what several share counts once."""
        return sum(process.memory_full_info().pss for process in self.family) / 2**20

    def private_mb(self) -> float:
        """Memory of all that nobody else shares: what grows by a leak, whatever else runs on the machine."""
        total = 0
        for process in self.family:
            with contextlib.suppress(psutil.NoSuchProcess):  # an old version's, that has just ended
                total += process.memory_full_info().uss
        return total / 2**20

    def descriptors(self) -> int:
        """Open files of the first process."""
        return psutil.Process(self.process.pid).num_fds()


def write_slow(folder: Path) -> None:
    """A model that thinks for some milliseconds about a number, whatever it is."""
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


def fill(root: Path) -> ModelStore:
    """A store with `tiny` (one version), `kinds`, and `slow`, which is not of Millrace."""
    write_slow(root / "models" / "slow" / "1")
    store = ModelStore(Store(str(root)))
    models.publish(store, "tiny", "binary")
    models.publish(store, "kinds", "multiclass")
    return store


@contextlib.contextmanager
def running(root: Path, **settings: Any) -> Iterator[Running]:
    """A server on a free port, ended with the block if it still runs."""
    script, log = root.parent / f"{root.name}-server.py", root.parent / f"{root.name}-server.log"
    script.write_text(CODE)
    serve = {"port": 0, "models": {"kinds": {}}, **settings}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, str(script), str(root), json.dumps(serve)]
    with (
        log.open("a") as said,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=said, text=True) as process,
    ):
        assert process.stdout
        try:
            address = process.stdout.readline().strip()
            assert address, log.read_text()[-2000:]
            yield Running(address, process, log)
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                for each in reversed(Running("", process, log).family):
                    each.kill()


def good_predict(**change: Any) -> bytes:
    """A V1 request that is answered 200."""
    return http("POST", PREDICT, as_json({"instances": [{**ROW, **change}]}))


def good_infer(**change: Any) -> bytes:
    """A V2 request that is answered 200."""
    return http("POST", INFER, as_json({"inputs": tensors({**ROW, **change})}))
