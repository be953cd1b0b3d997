"""Retries: which errors, for how long, how often, and what is logged meanwhile."""

import errno
import logging
import pickle
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from millrace.retry import NO_RETRY, RetryPolicy, is_temporary, retried


class Flaky:
    """Fails some times before it returns."""

    def __init__(self, times: int, number: int = errno.ECONNREFUSED, retry: RetryPolicy = NO_RETRY) -> None:
        self.left, self.number, self.calls, self.retry = times, number, 0, retry

    @retried
    def read(self, result: str) -> str:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise OSError(self.number, "unavailable")
        return result


def test_nothing_is_retried_by_default() -> None:
    storage = Flaky(1)
    with pytest.raises(OSError, match="unavailable"):
        storage.read("x")
    assert storage.calls == 1


def test_a_temporary_error_is_waited_for_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    waits: list[int] = []
    policy = RetryPolicy(60, on_wait=lambda: waits.append(1))
    with caplog.at_level(logging.WARNING):
        assert Flaky(3, retry=policy).read("here") == "here"
    assert len(waits) == 3
    assert [record.message for record in caplog.records] == ["waiting for the storage, 0 of 60 s: unavailable"]


def test_a_long_wait_is_logged_again(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millrace.retry.LOG_EVERY_S", 0.0)
    with caplog.at_level(logging.WARNING):
        Flaky(3, retry=RetryPolicy(None, first_pause_s=0.01, waits_for="the other")).read("here")
    assert len(caplog.records) == 3
    assert caplog.records[0].message == "waiting for the other, 0 s: unavailable"


def test_a_short_wait_is_not_logged_if_nobody_needs_to_know(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Flaky(3, retry=RetryPolicy(60, first_pause_s=0.01, log_after_s=5)).read("here")
    assert caplog.records == []


def test_a_pause_has_a_lower_bound() -> None:
    started = time.monotonic()
    Flaky(2, retry=RetryPolicy(60, first_pause_s=0.01, shortest_pause_s=0.1, longest_pause_s=0.2)).read("here")
    assert time.monotonic() - started >= 0.2


def test_the_wait_is_limited() -> None:
    storage = Flaky(1000, retry=RetryPolicy(0.5))
    with pytest.raises(ConnectionRefusedError):
        storage.read("x")
    assert storage.calls > 1


def test_the_number_of_tries_is_limited() -> None:
    storage = Flaky(1000, retry=RetryPolicy(None, tries=3, first_pause_s=0.01))
    with pytest.raises(ConnectionRefusedError):
        storage.read("x")
    assert storage.calls == 3


def test_an_event_ends_the_pause() -> None:
    stop = threading.Event()
    storage = Flaky(1000, retry=RetryPolicy(None, first_pause_s=60, longest_pause_s=60, stop=stop))
    timer = threading.Timer(0.2, stop.set)
    started = time.monotonic()
    timer.start()
    with pytest.raises(ConnectionRefusedError):
        storage.read("x")
    timer.join()
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.EDQUOT, errno.ENOENT, errno.EIO])
def test_a_permanent_error_is_not_retried(number: int) -> None:
    storage = Flaky(1, number, RetryPolicy(60))
    with pytest.raises(OSError, match="unavailable"):
        storage.read("x")
    assert storage.calls == 1
    assert not is_temporary(OSError(number, ""))


def test_other_errors_can_be_temporary() -> None:
    policy = RetryPolicy(60, first_pause_s=0.01, is_temporary=lambda error: isinstance(error, OSError))
    assert Flaky(2, errno.EIO, policy).read("here") == "here"


def test_a_missing_file_is_not_temporary(tmp_path: Path) -> None:
    assert not is_temporary(FileNotFoundError(errno.ENOENT, "x", str(tmp_path)))
    assert not is_temporary(ValueError())


def test_the_policy_of_a_storage_travels_to_executors() -> None:
    policy = RetryPolicy(600)
    assert pickle.loads(pickle.dumps(policy)) == policy != replace(policy, wait_s=0.0)  # noqa: S301 - our own bytes
