"""The server as a process: a port, a signal, an exit code."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import uvicorn

from millrace.config.sections.serve import Serve
from millrace.errors import ConfigError
from millrace.models.store import ModelStore
from millrace.storage import Store
from serve.server import server
from tests.serve.models import ROW
from tests.serve.products import product_of

ROOT = Path(__file__).parents[3]
CODE = """
import sys
from millrace.logs import configure_logging
from millrace.storage import Store
from serve.server import server
from tests.serve.products import product_of
configure_logging()
product = product_of("tiny", serve={"port": 0})
server.run(product, Store(sys.argv[1]), on_ready=lambda address: print(address, flush=True))
print("returned", flush=True)
"""


@pytest.fixture(scope="module")
def process(model_store: ModelStore) -> Iterator[subprocess.Popen[str]]:
    """A server that was just told to start."""
    command = [sys.executable, "-c", CODE, model_store.store.root]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        yield started
        started.kill()


@pytest.mark.tf
def test_answers_then_finishes_what_is_in_flight_and_exits_with_0(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    assert process.stderr
    address = process.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:")
    answer = httpx.post(f"{address}/v1/models/tiny:predict", json={"instances": [ROW]})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert httpx.post(f"{address}/v1/models/tiny:predict", content=b"").status_code == 400
    half_sent = Halves(address)
    process.send_signal(signal.SIGTERM)
    wait_until_closed(address)
    assert half_sent.finish() == 200
    assert process.wait(timeout=30) == 0
    assert process.stdout.read() == "returned\n"
    said = process.stderr.read()
    assert f"listening at {address}" in said
    assert "Traceback" not in said


def wait_until_closed(address: str) -> None:
    """Return when the server takes no more connections."""
    host, port = address.removeprefix("http://").split(":")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            threading.Event().wait(0.02)  # without a pause the queue of connections runs over, and one waits
        except TimeoutError:
            continue
        except (ConnectionRefusedError, ConnectionResetError):
            return
    pytest.fail("the server still takes connections")


class Halves:
    """A request whose second half is sent later."""

    def __init__(self, address: str) -> None:
        self._status = 0
        self._go = threading.Event()
        started = threading.Event()

        def body() -> Iterator[bytes]:
            yield b'{"instances": ['
            started.set()
            self._go.wait(10)
            yield b'{"amount": 1, "weight": 1, "count": 1, "code": 1, "flag": true, "maybe": null, "seen": 0, '
            yield b'"city": "Oslo", "note": null}]}'

        def send() -> None:
            self._status = httpx.post(f"{address}/v1/models/tiny:predict", content=body()).status_code

        self._thread = threading.Thread(target=send)
        self._thread.start()
        assert started.wait(10)
        # The head came first: when later requests are answered, the server has read it.
        assert all(httpx.get(f"{address}/v2/health/live").status_code == 200 for _ in range(3))

    def finish(self) -> int:
        """Send the rest; the answer's status."""
        self._go.set()
        self._thread.join(20)
        return self._status


@pytest.mark.tf
def test_goes_on_answering_for_a_while_when_it_is_told_to_end(model_store: ModelStore) -> None:
    code = CODE.replace('{"port": 0}', '{"port": 0, "drain_s": 5}')
    command = [sys.executable, "-c", code, model_store.store.root]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        address = process.stdout.readline().strip()
        with httpx.Client(base_url=address) as client:
            assert client.get("/v2/health/ready").status_code == 200
            process.send_signal(signal.SIGTERM)
            while client.get("/v2/health/ready").status_code == 200:
                time.sleep(0.01)
            answer = client.post("/v1/models/tiny:predict", json={"instances": [ROW]})
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
            assert client.get("/v2/health/live").status_code == 200
        assert process.wait(timeout=30) == 0


def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port} is in use") as caught:
            server.listen(Serve(port=port))
        assert "serve.port=0" in caught.value.hint


@pytest.mark.parametrize(
    ("host", "said"), [("192.0.2.1", "cannot listen on 192.0.2.1:0"), ("no host", "is not an address")]
)
def test_a_wrong_host(host: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        server.listen(Serve(host=host, port=0, open_to_everyone=True))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1"])
def test_an_address_that_others_reach_has_to_be_meant(host: str) -> None:
    with pytest.raises(ConfigError, match="has no authentication") as caught:
        server.listen(Serve(host=host, port=0))
    assert "serve.open_to_everyone" in caught.value.hint


def test_an_address_that_others_reach_on_purpose() -> None:
    server.listen(Serve(host="0.0.0.0", port=0, open_to_everyone=True)).close()


@pytest.mark.tf
@pytest.mark.case("S5", "D2")
def test_without_a_model_it_is_alive_and_not_ready_and_loads_the_first(model_store: ModelStore, tmp_path: Path) -> None:
    """Beside it, one model that is damaged, and one that works."""
    shutil.copytree(model_store.store.uri("models", "size"), tmp_path / "models" / "size")
    shutil.copytree(model_store.store.uri("models", "kinds"), tmp_path / "models" / "kinds")
    (tmp_path / "models" / "kinds" / "1" / "fingerprint.pb").unlink()
    models = '"models": {"size": {}, "kinds": {}}'
    code = CODE.replace('{"port": 0}', f'{{"port": 0, "reload_s": 0.2, {models}}}')
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        with httpx.Client(base_url=process.stdout.readline().strip()) as client:
            assert client.get("/v2/health/live").status_code == 200
            ready = client.get("/v2/health/ready")
            assert ready.status_code == 503
            assert "model 'tiny': the store has no version of it yet" in ready.json()["error"]
            assert "model 'kinds': model kinds version 1: fingerprint.pb is missing" in ready.json()["error"]
            row = {"instances": [{"amount": 1.5}]}
            assert client.post("/v1/models/size:predict", json=row).status_code == 200
            refused = client.post("/v1/models/tiny:predict", json={"instances": [ROW]})
            assert (refused.status_code, "no version of it yet" in refused.json()["error"]) == (503, True)
            status = client.get("/v1/models/kinds").json()
            assert (status["ready"], status["model_version_status"][0]["state"]) == (False, "END")
            assert "fingerprint.pb is missing" in status["reason"]
            assert "no version of it yet" in client.get("/v1/models/tiny").json()["reason"]
            index = {(e["name"], e["version"]): e for e in client.post("/v2/repository/index").json()}
            assert index["size", "1"]["state"] == "READY"
            assert "fingerprint.pb" in index["kinds", "1"]["reason"]
            assert (index["tiny", ""]["state"], "yet" in index["tiny", ""]["reason"]) == ("UNAVAILABLE", True)
            page = client.get("/metrics").text
            assert 'millrace_model_ready{model="size"} 1.0' in page
            assert 'millrace_model_ready{model="tiny"} 0.0' in page
            assert 'millrace_version_failed{model="kinds",version="1"} 1.0' in page
            shutil.copytree(model_store.store.uri("models", "tiny", "1"), tmp_path / "models" / "tiny" / "1")
            end = time.monotonic() + 60
            while client.get("/v2/models/tiny/ready").status_code != 200 and time.monotonic() < end:
                time.sleep(0.1)
            assert client.post("/v1/models/tiny:predict", json={"instances": [ROW]}).status_code == 200
            assert client.get("/v2/health/ready").status_code == 503
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        said = process.stderr.read()
        assert "model kinds is not served: model kinds version 1: fingerprint.pb is missing" in said
        assert said.count("model tiny is not served: the store has no version of it yet") == 1
        assert "model tiny is served now" in said


@pytest.mark.tf
def test_a_server_that_is_still_loading_ends_at_once(model_store: ModelStore, tmp_path: Path) -> None:
    """The process that loads a model ignores SIGTERM, and must not keep the server."""
    marker = tmp_path / "loading"
    slow = tmp_path / "slow.py"
    slow.write_text(
        f"import pathlib, time\ndef load(*_):\n    pathlib.Path({str(marker)!r}).write_text('x')\n    time.sleep(300)\n"
    )
    code = CODE.replace(
        "configure_logging()",
        "import slow, functools\nfrom serve.servables import loader\n"
        "loader.Loader.load = lambda self, name, *_: self._host(name, functools.partial(slow.load))",
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    with subprocess.Popen([sys.executable, "-c", code, model_store.store.root], cwd=ROOT, env=environment) as process:
        end = time.monotonic() + 60
        while not marker.exists() and time.monotonic() < end:
            time.sleep(0.05)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
        assert psutil.wait_procs(family, timeout=20)[1] == []


def test_a_store_that_cannot_be_used_ends_the_server(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    def denied(_: ModelStore, __: str) -> list[int]:
        raise ConfigError("no permission")

    monkeypatch.setattr(ModelStore, "versions", denied)
    with pytest.raises(ConfigError, match="no permission"):
        server.run(product_of("tiny", serve={"port": 0}), store)


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:")])
def test_the_address_of_a_listener(host: str, url: str) -> None:
    try:
        listener = server.listen(Serve(host=host, port=0))
    except ConfigError:
        pytest.skip(f"this machine has no {host}")
    with listener:
        assert server.address_of(listener).startswith(url)


@pytest.mark.tf
def test_several_workers_answer_count_together_and_end(model_store: ModelStore, tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    body = "\n".join(f"    {line}" for line in CODE.replace('{"port": 0}', '{"port": 0, "workers": 2}').splitlines())
    script.write_text(f"if __name__ == '__main__':\n{body}\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), model_store.store.root]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        address = process.stdout.readline().strip()
        family = psutil.Process(process.pid).children(recursive=True)
        for _ in range(40):
            answer = httpx.post(f"{address}/v1/models/tiny:predict", json={"instances": [ROW]})
            assert answer.status_code == 200
        counted, end = "", time.monotonic() + 20
        while "40.0" not in counted and time.monotonic() < end:
            page = httpx.get(f"{address}/metrics").text
            counted = next(line for line in page.splitlines() if 'predict",status="200"} ' in line)
        assert counted.endswith(" 40.0"), counted
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
        assert process.stdout.read() == "returned\n"
    assert psutil.wait_procs(family, timeout=20)[1] == []


def test_clients_control_models_only_of_one_worker(store: Store) -> None:
    with pytest.raises(ConfigError, match="only there"):
        server.run(product_of("tiny", serve={"port": 0, "workers": 2, "model_control": True}), store)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_uvicorn_takes_them_is_not_lost(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = server.Server(uvicorn.Config(lambda: None), lambda: None)
    monkeypatch.setattr(running, "run", lambda sockets: os.kill(os.getpid(), number))
    with socket.socket() as listener:
        server._serve(running, listener)
    assert running.should_exit
