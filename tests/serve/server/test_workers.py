"""Several processes behind one port."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from millrace.errors import ConfigError, Unavailable
from serve.server import workers as module
from serve.server.workers import Work, Workers


def echo(listener: socket.socket, on_ready: Callable[[], None]) -> None:
    """Answer each connection with this process's number, until SIGTERM."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    listener.settimeout(0.1)
    on_ready()
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            connection, _ = listener.accept()
            with connection:
                connection.sendall(str(os.getpid()).encode())


def refuse(_: socket.socket, __: Callable[[], None]) -> None:
    raise ConfigError("it is not configured")


def leave(_: socket.socket, __: Callable[[], None]) -> None:
    os._exit(7)


def deaf(listener: socket.socket, on_ready: Callable[[], None]) -> None:
    """Answer, and hear no SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    on_ready()
    time.sleep(600)


def echo_unless(file: str, listener: socket.socket, on_ready: Callable[[], None]) -> None:
    if Path(file).exists():
        raise ConfigError("a file is there")
    echo(listener, on_ready)


@contextlib.contextmanager
def running(work: Work, count: int = 2) -> Iterator[tuple[Workers, socket.socket, threading.Thread]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        workers, ready = Workers(count, work, listener), threading.Event()

        def run() -> None:
            workers.run(ready.set)

        # Signals are for the main thread, which is pytest's.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_signals", lambda _: contextlib.nullcontext())
            thread = threading.Thread(target=run)
            thread.start()
            try:
                assert ready.wait(60)
                yield workers, listener, thread
            finally:
                workers._end()
                thread.join(60)
        assert not thread.is_alive()


def ask(listener: socket.socket) -> int:
    with socket.create_connection(listener.getsockname(), timeout=10) as connection:
        return int(connection.recv(100))


def ask_until(listener: socket.socket, *pids: int | None) -> None:
    end = time.monotonic() + 30
    missing = set(pids)
    while missing and time.monotonic() < end:
        missing.discard(ask(listener))
    assert not missing


def test_all_answer_and_end_together() -> None:
    with running(echo, 3) as (workers, listener, _):
        pids = workers.pids
        assert len(set(pids)) == 3
        ask_until(listener, *pids)
    assert not any(psutil.pid_exists(pid) for pid in pids if pid)


def test_one_that_ends_is_replaced(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES_S", (0.0, 0.1))
    with running(echo) as (workers, listener, _):
        first, second = workers.pids
        assert first
        os.kill(first, signal.SIGKILL)
        end = time.monotonic() + 30
        while (first in workers.pids or len(workers.pids) < 2) and time.monotonic() < end:
            assert ask(listener) in (first, second, *workers.pids)
            time.sleep(0.05)
        ask_until(listener, *workers.pids)
        assert second in workers.pids
    assert "worker 0 ended (exit code -9), it restarts in 0.1 s" in caplog.text


@pytest.mark.case("B25")
def test_the_pause_of_one_keeps_no_other_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES_S", (600.0, 600.0))
    with running(echo) as (workers, listener, _):
        first, second = workers.pids
        assert first
        os.kill(first, signal.SIGKILL)
        ask_until(listener, second)
        wait_for(lambda: workers.pids == [second])
        monkeypatch.setattr(module, "PAUSES_S", (0.0, 0.0))
        assert second
        os.kill(second, signal.SIGKILL)
        wait_for(lambda: len(workers.pids) == 1 and second not in workers.pids)
        ask_until(listener, *workers.pids)


def wait_for(is_true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_one_that_cannot_start_again_is_tried_more_slowly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSES_S", (0.0, 0.1, 0.2, 0.3))
    file = tmp_path / "file"
    with running(partial(echo_unless, str(file)), 1) as (workers, listener, _):
        (first,) = workers.pids
        assert first
        file.touch()
        os.kill(first, signal.SIGKILL)
        end = time.monotonic() + 60
        while "it restarts in 0.3 s" not in caplog.text and time.monotonic() < end:
            time.sleep(0.05)
        file.unlink()
        assert ask(listener) != first
    assert "worker 0 ended (a file is there), it restarts in 0.2 s" in caplog.text


@pytest.mark.parametrize(("work", "error"), [(refuse, ConfigError), (leave, Unavailable)])
def test_what_cannot_start_at_all_is_told(work: Work, error: type[Exception]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(error):
        Workers(2, work, listener).run(lambda: pytest.fail("it is not ready"))


def test_one_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "END_S", 0.5)
    with running(deaf, 1) as (workers, _, _):
        (pid,) = workers.pids
    assert pid
    assert not psutil.pid_exists(pid)
