"""Processes of a run: found by their token, ended to the last, their exit code kept for whoever asks later."""

import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from millrace.errors import ConfigError
from pipelines.schedule.processes import LOST, Child, is_alive, owner, processes_of

SHELL = "/bin/sh"


def launch(folder: Path, code: str, token: str = "") -> Child:
    return Child.launch([sys.executable, "-SEc", code], token or folder.name, folder / "logs" / "run", {})


def wait(child: Child) -> int:
    end = time.monotonic() + 10
    while (code := child.code()) is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    return code


def test_an_exit_code_is_known_to_who_launched_it_and_to_who_did_not(tmp_path: Path) -> None:
    child = launch(tmp_path, 'import sys; print(\'{"reason": "so"}\'); sys.exit(3)')
    assert wait(child) == 3
    later = Child(child.token, child.output)
    assert (later.code(), later.result(), later.is_mine) == (3, {"reason": "so"}, False)


def test_one_that_still_runs_is_found_and_followed(tmp_path: Path) -> None:
    launched = launch(tmp_path, "import time; time.sleep(2); raise SystemExit(75)")
    later = Child(launched.token, launched.output)
    while not processes_of(launched.token) and launched.code() is None:
        time.sleep(0.001)  # a process has no environment for a moment while its program is loaded
    assert later.code() is None
    assert wait(later) == 75
    assert wait(launched) == 75


def test_one_that_was_killed_left_no_code(tmp_path: Path) -> None:
    child = launch(tmp_path, "import time; time.sleep(60)")
    while len(processes_of(child.token)) < 2:
        time.sleep(0.01)
    for process in processes_of(child.token):
        process.kill()
    assert wait(child) == LOST
    assert wait(Child(child.token, child.output)) == LOST  # a killed process takes a moment to end
    assert Child("never", tmp_path / "never").code() == LOST


def test_all_are_ended_those_too_that_left_the_group_or_will_not(tmp_path: Path) -> None:
    code = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if os.fork() == 0:\n    os.setsid()\n    os.fork()\n"
        "time.sleep(60)"
    )
    child = launch(tmp_path, code)
    while len(processes_of(child.token)) < 4:
        time.sleep(0.01)
    stopped = processes_of(child.token)[-1]
    stopped.suspend()
    began = time.monotonic()
    child.end(0.3)
    assert 0.3 <= time.monotonic() - began < 3
    assert processes_of(child.token) == []
    assert not psutil.pid_exists(stopped.pid) or stopped.status() == psutil.STATUS_ZOMBIE


def test_one_that_ends_when_asked_is_not_waited_for(tmp_path: Path) -> None:
    child = launch(tmp_path, "import time; time.sleep(60)")
    began = time.monotonic()
    child.end(10)
    assert time.monotonic() - began < 5
    hurried = launch(tmp_path, "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)")
    time.sleep(0.2)
    hurried.end(10, lambda: True)
    assert time.monotonic() - began < 8


def test_other_processes_are_left_alone(tmp_path: Path) -> None:
    one, other = (
        launch(tmp_path, "import time; time.sleep(60)", "one"),
        launch(tmp_path, "import time; time.sleep(60)", "two"),
    )
    one.end(1)
    assert other.code() is None
    other.end(1)


def test_the_last_words_are_the_reason_where_there_is_no_result(tmp_path: Path) -> None:
    child = launch(tmp_path, "import sys; print('not JSON'); sys.exit('\\n'.join(['first', 'x' * 500, '']))")
    wait(child)
    assert child.result()["reason"].startswith("xxx")
    assert len(child.result()["reason"]) <= 200
    assert Child("never", tmp_path / "never").result() == {}


def test_what_cannot_be_launched(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where a folder should be")
    with pytest.raises(ConfigError, match="cannot be started"):
        launch(tmp_path, "")


def test_a_process_is_not_taken_for_another_with_its_number(tmp_path: Path) -> None:
    me = owner("key")
    assert is_alive(me)
    assert not is_alive(me.model_copy(update={"started": me.started - 60}))
    child = psutil.Popen(["sleep", "60"])
    other = me.model_copy(update={"pid": child.pid, "started": child.create_time() - psutil.boot_time()})
    assert is_alive(other)
    child.send_signal(signal.SIGKILL)
    while child.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert not is_alive(other)
    child.wait()
    assert not is_alive(other)
