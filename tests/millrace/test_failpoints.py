"""Failpoints do nothing unless armed, and never arm a name that does not exist."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from millrace.failpoints import ENVIRONMENT, LOG, FailpointFired, armed, fail_here, fired

ROOT = Path(__file__).parents[2]
NAME = "train.before_epoch"


def test_unarmed_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    fail_here(NAME)
    monkeypatch.setenv(ENVIRONMENT, "")
    fail_here(NAME)


def test_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, f"score.before_commit=hang,{NAME}=raise")
    fail_here("train.before_export")
    with pytest.raises(FailpointFired, match=NAME):
        fail_here(NAME)


def test_one_rank_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, f"{NAME}@1=raise")
    fail_here(NAME, 0)
    fail_here(NAME)
    with pytest.raises(FailpointFired):
        fail_here(NAME, 1)


def test_kill9_leaves_the_process_no_last_word() -> None:
    code = f"from millrace.failpoints import fail_here\ntry: fail_here({NAME!r})\nfinally: print('alive')"
    environment = {**os.environ, ENVIRONMENT: f"{NAME}=kill9"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")


@pytest.mark.parametrize("text", ["train.before_epok=raise", f"{NAME}=explode", "nonsense@1=raise", NAME])
def test_a_misspelt_fault_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=ENVIRONMENT):
        armed(text)


def test_several_at_once() -> None:
    assert armed(f"{NAME}@1=raise,,score.before_commit=kill9") == {
        f"{NAME}@1": "raise",
        "score.before_commit": "kill9",
    }


def test_once_over_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "fired"
    monkeypatch.setenv(LOG, str(log))
    monkeypatch.setenv(ENVIRONMENT, f"{NAME}=once:raise")
    code = f"from millrace.failpoints import fail_here; fail_here({NAME!r})"
    first = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert first.returncode == 1
    fail_here(NAME)
    assert [name for name, _ in fired(log)] == [NAME]
    assert fired(log)[0][1] != os.getpid()


def test_once_needs_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LOG, raising=False)
    with pytest.raises(ValueError, match=LOG):
        armed(f"{NAME}=once:raise")


def test_a_log_of_what_was_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "fired"
    assert fired(log) == []
    monkeypatch.setenv(LOG, str(log))
    monkeypatch.setenv(ENVIRONMENT, f"{NAME}=note")
    fail_here(NAME)
    fail_here(NAME, 1)
    fail_here("score.before_commit")
    assert fired(log) == [(NAME, os.getpid())] * 2


@pytest.mark.parametrize(("action", "number"), [("enospc", errno.ENOSPC), ("drop_reply", errno.ECONNRESET)])
def test_errors_of_the_storage(action: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, f"{NAME}={action}")
    with pytest.raises(OSError, match=NAME) as caught:
        fail_here(NAME)
    assert caught.value.errno == number


def test_a_stopped_process_goes_on_when_it_is_told_to(tmp_path: Path) -> None:
    code = f"from millrace.failpoints import fail_here; fail_here({NAME!r}); print('on')"
    environment = {**os.environ, ENVIRONMENT: f"{NAME}=stop", LOG: str(tmp_path / "fired")}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE)
    assert os.waitpid(process.pid, os.WUNTRACED)[1] & 0xFF == 0x7F
    process.send_signal(signal.SIGCONT)
    assert process.communicate(timeout=60)[0] == b"on\n"
