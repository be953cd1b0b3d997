"""Starting a service and asking it, where it is well and where it is not."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from millrace.errors import ConfigError, Unavailable
from pipelines.jobs.service import WatchedConfig, request_predictions, serve_product, service
from tests.millrace.products import write_product


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was asked; a row with ``fail`` is a bad request."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(400 if body["instances"][0].get("fail") else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"path": self.path, "asked": body}).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_asking(address: str) -> None:
    rows = [{"a": 1, "b": None}, {"a": datetime(2013, 1, 1, 12, tzinfo=UTC)}]
    asked = [{"a": 1, "b": None}, {"a": "2013-01-01T12:00:00+00:00"}]
    assert request_predictions(address, "m", rows) == {"path": "/v1/models/m:predict", "asked": {"instances": asked}}


def test_a_refused_question_is_not_an_answer(address: str) -> None:
    with pytest.raises(Unavailable, match=":predict: 400: "):
        request_predictions(address, "m", [{"fail": True}])


@pytest.mark.e2e
def test_a_service_that_cannot_start_says_why(tmp_path: Path) -> None:
    settings = [f"store.root={tmp_path}/store", "train.epoch=3"]
    with pytest.raises(Unavailable, match=r"did not start: error: --set train\.epoch"):
        with service(write_product(tmp_path), "local", settings):
            pass


def test_serving_a_wrong_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key 'epoch'"):
        serve_product(write_product(tmp_path), "local", ["train.epoch=3"])


def test_a_service_need_not_have_its_users_functions(tmp_path: Path) -> None:
    path = write_product(tmp_path, ("train.models.tabular:build", "not.here:build"))
    assert WatchedConfig(path, "local", []).load().config.train.model == "not.here:build"


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = write_product(tmp_path)
    watched = WatchedConfig(path, "local", ["serve.port=0"])
    assert watched.load().config.serve.models == {}
    assert watched.reread() is None
    path.write_text(path.read_text() + "\nserve:\n  models: {other: {versions: all}}\n")
    changed = watched.reread()
    assert changed
    assert changed.config.serve.models["other"].versions == "all"
    assert watched.reread() is None
    path.write_text(path.read_text().replace("versions: all", "versions: some"))
    with pytest.raises(ConfigError, match="versions"):
        watched.reread()
    assert watched.reread() is None  # told once
    path.unlink()
    with pytest.raises(ConfigError):
        watched.reread()
