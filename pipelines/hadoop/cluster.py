"""A cluster on this machine: one process for each daemon of `service`, on free ports of the loopback address."""

import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil

from millrace.errors import ArtifactNotFound, Unavailable, shorten
from pipelines.hadoop.conf import render_conf
from pipelines.hadoop.layout import HOST, SHARED_ENV, Member, Size, current_names, plan_members
from pipelines.hadoop.profiles import write_profiles
from pipelines.hadoop.service import CONF, SERVICES, TIED, hadoop_command, hadoop_jars, is_ready

logger = logging.getLogger(__name__)

STATE: Final = "cluster.json"
GRACE_S: Final = 10
POLL_S: Final = 0.2
FULL: Final = Size()


class Cluster:
    """Daemons with their data, logs and configuration in one folder.

    Args:
        folder: Created by `start`. It has all the state, so another process can manage the cluster too.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.members: dict[str, Member] = {}
        self._children: list[subprocess.Popen[bytes]] = []
        if (self.folder / STATE).is_file():
            found: dict[str, dict[str, Any]] = json.loads((self.folder / STATE).read_text())
            members = {name: Member(**fields) for name, fields in found.items()}
            self.members = {name: replace(each, env=current_names(each.env)) for name, each in members.items()}

    @property
    def env(self) -> dict[str, str]:
        """The environment variables that a client needs."""
        return {"HADOOP_CONF_DIR": str(self.folder / "conf")}

    @property
    def hdfs(self) -> str:
        """The file system's URI."""
        return f"hdfs://{HOST}:{self._value('namenode', 'NAMENODE_PORT_NUMBER')}"

    @property
    def webhdfs(self) -> str:
        """The NameNode's address for clients over HTTP."""
        return self.address("namenode")

    @property
    def spark_master(self) -> str:
        """URL of the standalone master."""
        return self._value("spark-master", "SPARK_MASTER_URL")

    def address(self, name: str) -> str:
        """A daemon's web page."""
        member = self._member(name)
        return SERVICES[member.service].address(member.env)

    def start(self, size: Size = FULL, *, tied: bool = False, timeout_s: float = 120) -> None:
        """Start the daemons that do not run, and wait until all work.

        Args:
            size: Size of a new cluster; an existing one keeps its size.
            tied: End the daemons when this process ends, even if it is killed.
            timeout_s: Time limit for all daemons together.

        Raises:
            Unavailable: A daemon ended, or did not work in time; the error names its log. The others are stopped.
        """
        hadoop_jars()
        if not self.members:
            self.members = {member.name: member for member in plan_members(self.folder, size)}
        env = {k: v for member in self.members.values() for k, v in member.env.items() if k in SHARED_ENV}
        render_conf(CONF, self.folder / "conf", {**os.environ, **env})
        master = self.spark_master if "spark-master" in self.members else None
        yarn = "resourcemanager" in self.members
        write_profiles(self.folder / "profiles", self.hdfs, self.webhdfs, master, yarn=yarn)
        try:
            for member in list(self.members.values()):
                if member.process() is None:
                    self._launch(member, tied=tied)
            self.wait(timeout_s=timeout_s)
        except BaseException:
            self.stop()
            raise

    def wait(self, *names: str, timeout_s: float = 120) -> None:
        """Wait until daemons work; by default all daemons.

        Raises:
            Unavailable: A daemon ended, or did not work in time.
        """
        started = time.monotonic()
        waiting = [self._member(name) for name in names or self.members]
        while waiting:
            for member in list(waiting):
                if member.process() is None:
                    raise Unavailable(f"{member.name} ended", hint=self._last_error(member))
                if _works(member):
                    waiting.remove(member)
                    logger.info("%s works: %s", member.name, self.address(member.name))
            if waiting and time.monotonic() - started > timeout_s:
                names = tuple(member.name for member in waiting)
                raise Unavailable(
                    f"not ready within {timeout_s:.0f} s: {', '.join(names)}", hint=self._last_error(waiting[0])
                )
            time.sleep(POLL_S)

    def status(self) -> dict[str, str]:
        """Return each daemon's state: ``works``, ``starting`` or ``down``."""
        return {
            name: "down" if m.process() is None else "works" if _works(m) else "starting"
            for name, m in self.members.items()
        }

    def kill(self, name: str, sig: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a daemon, and wait for its end if the signal ends it."""
        process = self._member(name).process()
        if process is None:
            raise ArtifactNotFound(kind="running daemon", name=name)
        process.send_signal(sig)
        if sig in (signal.SIGKILL, signal.SIGTERM):
            _wait_until_ended([process], GRACE_S)

    def restart(self, name: str, *, tied: bool = False, timeout_s: float = 120) -> None:
        """Start a stopped daemon with its old ports and data, and wait until it works."""
        self._launch(self._member(name), tied=tied)
        self.wait(name, timeout_s=timeout_s)

    def admin(self, *arguments: str) -> str:
        """Run ``hdfs dfsadmin`` and return its output.

        Raises:
            Unavailable: The command failed.
        """
        command = hadoop_command("org.apache.hadoop.hdfs.tools.DFSAdmin", 128)({})
        env = {**os.environ, **self._member("namenode").env}
        command += arguments
        done = subprocess.run(command, env=env, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            raise Unavailable(f"dfsadmin {' '.join(arguments)}: {shorten(done.stderr.strip())}")
        return done.stdout

    def stop(self) -> None:
        """Stop all daemons and the processes that they started; data and ports stay for the next start."""
        found = [process for member in self.members.values() if (process := member.process())]
        below = [child for process in found for child in process.children(recursive=True)]
        for process in found:
            process.terminate()
        left = _wait_until_ended([*found, *below], GRACE_S)
        for process in [*left, *self._strays()]:
            process.kill()
        _wait_until_ended(left, GRACE_S)
        for child in self._children:
            child.poll()  # or Python would still consider it running
        self._children.clear()

    def _strays(self) -> list[psutil.Process]:
        """Find containers and executors that outlived their daemon: their working folder is in the cluster's."""
        strays = []
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and Path(process.cwd()).is_relative_to(self.folder):
                    strays.append(process)
            except (psutil.Error, OSError):
                continue
        return strays

    def _launch(self, member: Member, *, tied: bool) -> None:
        logs = self.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        home = self.folder / member.name
        home.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "pipelines.hadoop.service", member.service]
        env = {**os.environ, **member.env, TIED: "1" if tied else "0"}
        env["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        with (logs / f"{member.name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, env=env, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._children.append(process)
        pid, started = process.pid, psutil.Process(process.pid).create_time()
        self.members[member.name] = replace(member, pid=pid, started=started)
        state = {name: asdict(each) for name, each in self.members.items()}
        (self.folder / STATE).write_text(json.dumps(state, indent=2))

    def _last_error(self, member: Member) -> str:
        log = self.folder / "logs" / f"{member.name}.log"
        lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
        errors = [line for line in lines if " ERROR " in line or "Exception" in line] or lines
        return f"{log}: {errors[-1] if errors else 'empty'}"

    def _member(self, name: str) -> Member:
        if name not in self.members:
            known = ", ".join(self.members) or f"none; run: millrace hadoop up --folder {shlex.quote(str(self.folder))}"
            raise ArtifactNotFound(kind="daemon", name=name, hint=f"there is: {known}")
        return self.members[name]

    def _value(self, name: str, key: str) -> str:
        return self._member(name).env[key]


def _works(member: Member) -> bool:
    """Whether a daemon is ready, and the process that listens at its address is its own."""
    process = member.process()
    port = urlsplit(SERVICES[member.service].address(member.env)).port
    try:
        own = process is not None and any(
            c.laddr.port == port and c.status == psutil.CONN_LISTEN for c in process.net_connections("tcp")
        )
    except psutil.NoSuchProcess:
        own = False
    return own and is_ready(member.service, member.env)


def _wait_until_ended(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Wait until processes have ended, and return those that still run."""
    _, left = psutil.wait_procs(processes, timeout_s)
    return list(left)
