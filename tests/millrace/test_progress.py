"""A bar where there is a terminal, a line now and then where there is none."""

import io
import logging
import os
import sys
from functools import partial

import pytest

from millrace import progress as module
from millrace.progress import progress


def shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> str:
    ours, theirs = os.openpty()
    with open(theirs, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        patch.setenv("TERM", "xterm")
        with progress("counting", 4) as done:
            for number in range(5):
                done(number)
    text = b"".join(iter(partial(_read, ours), b"")).decode()
    os.close(ours)
    return text


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 100_000)
    except OSError:  # how a terminal ends when nobody holds its other side
        return b""


def test_a_terminal_shows_a_bar(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    text = shown_on_a_terminal(monkeypatch)
    assert "counting" in text
    assert "100%" in text
    assert caplog.messages == []


def test_no_terminal_shows_plain_lines(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(module, "LINE_EVERY_S", 0.0)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress("counting", 4) as done:
        done(2)
        done(4)
    assert caplog.messages == ["counting: 2 of 4", "counting: 4 of 4"]
    assert sys.stderr.getvalue() == ""


def test_lines_are_not_more_than_one_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress("counting", 1000) as done:
        for number in range(1000):
            done(number)
    assert caplog.messages == []


def test_an_error_inside_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with pytest.raises(ValueError, match="inside"), progress("counting", 1):
        raise ValueError("inside")
