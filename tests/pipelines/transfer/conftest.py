"""A client of the real HDFS, a folder of its own in it, and a server that is none."""

import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from millrace.config.sections.profile import Transfer
from pipelines.hadoop.cluster import Cluster
from pipelines.transfer import WebHdfs, connect

BLOCK = 8192
"""Small blocks make a small file one of many."""


class Stranger:
    """An HTTP server that gives every request the same answer, and remembers what was asked."""

    def __init__(self) -> None:
        self.status, self.body = 200, b"{}"
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def port(self) -> int:
        return self.server.server_address[1]


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    made = Stranger()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.05,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture
def web(hdfs: Cluster) -> WebHdfs:
    return connect(Transfer(url=hdfs.webhdfs))


@pytest.fixture
def folder(web: WebHdfs) -> str:
    path = f"/transfer/{uuid.uuid4().hex}"
    web.make_folder(path)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of three whole blocks and a bit."""
    path = tmp_path / "flights.bin"
    path.write_bytes(bytes(number * 7 % 251 for number in range(3 * BLOCK + 100)))
    return path
