"""The processes of a run: started independently of the scheduler, found again by a later one, all ended together.

Every process of a run has the run's token in its environment: the launcher, the JVM, the driver, and Python workers,
which leave the process group of their parent. The system may use a process number again, but never a token.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from millrace.errors import ConfigError, shorten
from pipelines.schedule.log import Owner

TOKEN: Final = "MILLRACE_RUN"  # noqa: S105 - a name of a variable
LOST: Final = -int(signal.SIGKILL)
"""Used as the exit code of a process that left none."""
_KEEPER: Final = 'exit=$1; shift; "$@"; code=$?; echo $code >"$exit.tmp" && mv "$exit.tmp" "$exit"; exit $code'
"""Writes the exit code to a file, for a scheduler that is not the parent."""
_AFTER_KILL_S: Final = 5.0


def owner(key: str) -> Owner:
    """Return this process as the log identifies it."""
    return Owner(host=os.uname().nodename, pid=os.getpid(), started=_since_boot(psutil.Process()), key=key)


def is_alive(other: Owner) -> bool:
    """Whether a process on this host still runs."""
    try:
        process = psutil.Process(other.pid)
        return abs(_since_boot(process) - other.started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _since_boot(process: psutil.Process) -> float:
    # Both follow the wall clock when it is set; their difference does not.
    return process.create_time() - psutil.boot_time()


def processes_of(token: str) -> list[psutil.Process]:
    """Find every running process of a run."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # the process ended meanwhile, or is another user's
            if process.environ().get(TOKEN) == token and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


class Child:
    """A run's processes.

    Args:
        token: The run's token.
        output: Path of its output files, without the suffix.
        process: The launcher, if this process is its parent.
    """

    def __init__(self, token: str, output: Path, process: "subprocess.Popen[bytes] | None" = None) -> None:
        self.token = token
        self.output = output
        self._process = process
        self._seen: list[psutil.Process] = []

    @classmethod
    def launch(cls, command: Sequence[str], token: str, output: Path, environment: Mapping[str, str]) -> "Child":
        """Start a command in a new session.

        Raises:
            ConfigError: The output cannot be written, or the program does not exist.
        """
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            with output.with_suffix(".out").open("wb") as out, output.with_suffix(".err").open("wb") as err:
                process = subprocess.Popen(
                    ["/bin/sh", "-c", _KEEPER, "millrace", str(output.with_suffix(".exit")), *command],
                    env={**environment, TOKEN: token},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                )
        except OSError as error:
            raise ConfigError(
                f"a run cannot be started: {error}", hint="--logs must name a folder that you can write to"
            ) from error
        return cls(token, output, process)

    def code(self) -> int | None:
        """Return its exit code; None while it runs, `LOST` if it ended without leaving one."""
        if self._process is not None:
            ended = self._process.poll()
            return self._saved_code() if ended is not None else None
        if any(_runs(process) for process in self._seen):
            return None
        self._seen = processes_of(self.token)
        return None if self._seen else self._saved_code()

    def _saved_code(self) -> int:
        try:
            return int(self.output.with_suffix(".exit").read_text())
        except (OSError, ValueError):
            return LOST

    @property
    def is_mine(self) -> bool:
        """Whether this process started it."""
        return self._process is not None

    def end(self, grace_s: float, hurry: Callable[[], bool] = lambda: False) -> None:
        """Terminate every process; kill those that still run after a grace period, or once `hurry` returns true."""
        signalled: set[psutil.Process] = set()
        until = time.monotonic() + grace_s
        while (left := processes_of(self.token)) and time.monotonic() < until and not hurry():
            _signal([process for process in left if process not in signalled], signal.SIGTERM)
            signalled.update(left)
            time.sleep(0.05)
        until = time.monotonic() + _AFTER_KILL_S
        while left and time.monotonic() < until:
            _signal(left, signal.SIGKILL)
            time.sleep(0.05)
            left = processes_of(self.token)  # a process may have started another one meanwhile
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)

    def result(self) -> dict[str, Any]:
        """Return the JSON object that the stage wrote last; else its last line on stderr as the reason."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            found = json.loads(self._tail(".out").splitlines()[-1])
            if isinstance(found, dict):
                return found
        with contextlib.suppress(OSError, IndexError):
            return {"reason": shorten([line for line in self._tail(".err").splitlines() if line.strip()][-1])}
        return {}

    def _tail(self, suffix: str) -> str:
        with self.output.with_suffix(suffix).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 65_536))
            return file.read().decode(errors="replace").strip()


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)
