"""Waiting for a storage that is away: bounded, told, and only where somebody asked for it."""

import errno
import logging
from pathlib import Path

import pytest

from millrace import retry as patience
from millrace.retry import be_patient, is_passing, patient, wait_s, while_waiting


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(patience.ENVIRONMENT, "0")
    monkeypatch.setattr(patience, "_listeners", [])


class Away:
    """Fails some times before it answers."""

    def __init__(self, times: int, number: int = errno.ECONNREFUSED) -> None:
        self.left, self.number, self.calls = times, number, 0

    @patient
    def ask(self, answer: str) -> str:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise OSError(self.number, "away")
        return answer


def test_nobody_waits_unless_told_to() -> None:
    storage = Away(1)
    with pytest.raises(OSError, match="away"):
        storage.ask("x")
    assert (storage.calls, wait_s()) == (1, 0)


def test_an_error_that_passes_is_waited_for_and_told(caplog: pytest.LogCaptureFixture) -> None:
    be_patient(60)
    waits: list[int] = []
    while_waiting(lambda: waits.append(1))
    with caplog.at_level(logging.WARNING):
        assert Away(3).ask("here") == "here"
    assert len(waits) == 3
    assert [record.message for record in caplog.records] == ["waiting for the storage, 0 of 60 s: away"]


def test_it_ends() -> None:
    be_patient(0.5)
    storage = Away(1000)
    with pytest.raises(ConnectionRefusedError):
        storage.ask("x")
    assert storage.calls > 1


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.EDQUOT, errno.ENOENT, errno.EIO])
def test_what_no_waiting_mends(number: int) -> None:
    be_patient(60)
    storage = Away(1, number)
    with pytest.raises(OSError, match="away"):
        storage.ask("x")
    assert storage.calls == 1
    assert not is_passing(OSError(number, ""))


def test_a_missing_file_is_an_answer(tmp_path: Path) -> None:
    assert not is_passing(FileNotFoundError(errno.ENOENT, "x", str(tmp_path)))
    assert not is_passing(ValueError())
