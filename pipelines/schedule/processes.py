"""The processes of a run: launched apart from their scheduler, found again by a later one, ended to the last.

Every process of a run carries the run's token in its environment: the launcher, the JVM, the driver, and Python
workers, which leave the process group that they were born in. A number of a process may be used again; a token is not.
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
"""Stands for the exit code of a process that nobody saw end."""
_KEEPER: Final = 'exit=$1; shift; "$@"; code=$?; echo $code >"$exit.tmp" && mv "$exit.tmp" "$exit"; exit $code'
"""Keeps the exit code, for a scheduler that is not the parent."""
_AFTER_KILL_S: Final = 5.0


def owner(key: str) -> Owner:
    """This process, as a log names it."""
    return Owner(host=os.uname().nodename, pid=os.getpid(), started=_since_boot(psutil.Process()), key=key)


def is_alive(other: Owner) -> bool:
    """Whether a process of this host still runs."""
    try:
        process = psutil.Process(other.pid)
        return abs(_since_boot(process) - other.started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _since_boot(process: psutil.Process) -> float:
    # Both follow the wall clock when it is set; their difference does not.
    return process.create_time() - psutil.boot_time()


def family(token: str) -> list[psutil.Process]:
    """Every live process of a run."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # ended meanwhile, or another user's
            if process.environ().get(TOKEN) == token and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


class Child:
    """A run's processes.

    Args:
        token: The run's.
        place: Path of its output, without the suffix.
        process: The launcher, where this process is its parent.
    """

    def __init__(self, token: str, place: Path, process: "subprocess.Popen[bytes] | None" = None) -> None:
        self.token = token
        self.place = place
        self._process = process
        self._seen: list[psutil.Process] = []

    @classmethod
    def launch(cls, command: Sequence[str], token: str, place: Path, environment: Mapping[str, str]) -> "Child":
        """Start a command in a session of its own.

        Raises:
            ConfigError: Its output cannot be written, or there is no such program.
        """
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.with_suffix(".out").open("wb") as out, place.with_suffix(".err").open("wb") as err:
                process = subprocess.Popen(
                    ["/bin/sh", "-c", _KEEPER, "millrace", str(place.with_suffix(".exit")), *command],
                    env={**environment, TOKEN: token},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                )
        except OSError as error:
            raise ConfigError(f"a run cannot be started: {error}", hint="--logs must name a folder of yours") from error
        return cls(token, place, process)

    def code(self) -> int | None:
        """Its exit code; None while it runs, `LOST` if it died without leaving one."""
        if self._process is not None:
            ended = self._process.poll()
            return self._kept() if ended is not None else None
        if any(_runs(process) for process in self._seen):
            return None
        self._seen = family(self.token)
        return None if self._seen else self._kept()

    def _kept(self) -> int:
        try:
            return int(self.place.with_suffix(".exit").read_text())
        except (OSError, ValueError):
            return LOST

    @property
    def is_mine(self) -> bool:
        """Whether this process launched it."""
        return self._process is not None

    def end(self, grace_s: float, hurry: Callable[[], bool] = lambda: False) -> None:
        """Ask every process to end, and kill those that have not after a while, or when there is no time left."""
        asked: set[psutil.Process] = set()
        until = time.monotonic() + grace_s
        while (left := family(self.token)) and time.monotonic() < until and not hurry():
            _signal([process for process in left if process not in asked], signal.SIGTERM)
            asked.update(left)
            time.sleep(0.05)
        until = time.monotonic() + _AFTER_KILL_S
        while left and time.monotonic() < until:
            _signal(left, signal.SIGKILL)
            time.sleep(0.05)
            left = family(self.token)  # one may have started another meanwhile
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)

    def result(self) -> dict[str, Any]:
        """The JSON object that the stage wrote last; else its last words on stderr as the reason."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            found = json.loads(self._tail(".out").splitlines()[-1])
            if isinstance(found, dict):
                return found
        with contextlib.suppress(OSError, IndexError):
            return {"reason": shorten([line for line in self._tail(".err").splitlines() if line.strip()][-1])}
        return {}

    def _tail(self, suffix: str) -> str:
        with self.place.with_suffix(suffix).open("rb") as file:
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
