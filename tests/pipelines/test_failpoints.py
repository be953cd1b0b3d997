"""Failpoints do nothing unless armed, and never arm a name that does not exist."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.failpoints import ENVIRONMENT, FailpointFired, armed, fail_here

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
    code = f"from pipelines.failpoints import fail_here\ntry: fail_here({NAME!r})\nfinally: print('alive')"
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
