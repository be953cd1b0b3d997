"""The daemons of a cluster on this machine, with the environment of each."""

import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from millrace.errors import Unavailable

HOST: Final = "127.0.0.1"
PORTS: Final = range(20_000, 32_000)
"""Below the range for outgoing connections, so that the port of a restarted daemon is still free."""
SHARED_PORTS: Final = (
    "NAMENODE_PORT_NUMBER", "NAMENODE_HTTP_PORT_NUMBER", "RESOURCEMANAGER_PORT_NUMBER",
    "RESOURCEMANAGER_SCHEDULER_PORT_NUMBER", "RESOURCEMANAGER_TRACKER_PORT_NUMBER",
    "RESOURCEMANAGER_ADMIN_PORT_NUMBER", "RESOURCEMANAGER_HTTP_PORT_NUMBER", "NODEMANAGER_PORT_NUMBER",
    "NODEMANAGER_LOCALIZER_PORT_NUMBER", "NODEMANAGER_HTTP_PORT_NUMBER", "SPARK_MASTER_PORT",
    "SPARK_MASTER_WEBUI_PORT",
)  # fmt: skip
"""Not ``NAMENODE_PORT``: Kubernetes sets that to ``tcp://...`` for a Service ``namenode``. Spark's own names stay."""
DATANODE_PORTS: Final = ("DATANODE_PORT_NUMBER", "DATANODE_HTTP_PORT_NUMBER", "DATANODE_IPC_PORT_NUMBER")
WORKER_PORTS: Final = ("SPARK_WORKER_PORT", "SPARK_WORKER_WEBUI_PORT")


@dataclass(frozen=True)
class Size:
    """How many daemons of each kind a cluster has."""

    datanodes: int = 3
    yarn: bool = True
    spark_workers: int = 2

    @property
    def members(self) -> Iterator[tuple[str, str]]:
        """Name and service of every daemon."""
        yield "namenode", "namenode"
        yield from ((f"datanode-{n}", "datanode") for n in range(1, self.datanodes + 1))
        if self.yarn:
            yield from ((name, name) for name in ("resourcemanager", "nodemanager"))
        if self.spark_workers:
            yield "spark-master", "spark-master"
            yield from ((f"spark-worker-{n}", "spark-worker") for n in range(1, self.spark_workers + 1))


@dataclass(frozen=True)
class Member:
    """One daemon.

    Attributes:
        name: Such as ``datanode-2``.
        service: Its kind.
        env: Environment variables in addition to the caller's.
        pid: Number of its newest process; 0 before the first start.
        started: When that process started, because the system uses process numbers again.
    """

    name: str
    service: str
    env: dict[str, str] = field(default_factory=dict)
    pid: int = 0
    started: float = 0.0

    def process(self) -> psutil.Process | None:
        """The running process, if there is one."""
        try:
            process = psutil.Process(self.pid) if self.pid else None
            is_running = process is not None and process.status() != psutil.STATUS_ZOMBIE
            return process if process and is_running and process.create_time() == self.started else None
        except psutil.NoSuchProcess:
            return None


SHARED_ENV: Final = {
    *SHARED_PORTS, "NAMENODE_HOST", "RESOURCEMANAGER_HOST", "NODEMANAGER_HOST", "BIND_HOST", "DFS_REPLICATION",
    "YARN_CHECK_MEMORY",
}  # fmt: skip


def current_names(env: dict[str, str]) -> dict[str, str]:
    """Return a member's environment with today's names of ports; earlier versions wrote ``NAMENODE_PORT``."""
    known = {*SHARED_PORTS, *DATANODE_PORTS}
    return {f"{name}_NUMBER" if f"{name}_NUMBER" in known else name: value for name, value in env.items()}


def plan_members(folder: Path, size: Size) -> Iterator[Member]:
    """Yield the daemons of a new cluster, each with ports that are free now."""
    members = list(size.members)
    count = len(SHARED_PORTS) + len(members) * len(DATANODE_PORTS)
    ports = iter(_free_ports(count))
    shared = {name: str(next(ports)) for name in SHARED_PORTS}
    hosts = ("NAMENODE_HOST", "RESOURCEMANAGER_HOST", "NODEMANAGER_HOST", "DATANODE_HOST")
    shared |= dict.fromkeys((*hosts, "BIND_HOST", "SPARK_MASTER_HOST", "SPARK_LOCAL_IP"), HOST)
    shared |= {
        "DATANODES": str(size.datanodes),
        "DFS_REPLICATION": str(min(2, size.datanodes)),
        "SPARK_WORKERS": str(size.spark_workers),
        "SPARK_MASTER_URL": f"spark://{HOST}:{shared['SPARK_MASTER_PORT']}",
        "SPARK_DAEMON_MEMORY": "192m",
        "SPARK_DAEMON_JAVA_OPTS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
    }
    for name, service in members:
        own = {"HADOOP_DATA": str(folder / name)}
        if service == "datanode":
            own |= {key: str(next(ports)) for key in DATANODE_PORTS}
        if service == "spark-worker":
            own |= {key: str(next(ports)) for key in WORKER_PORTS}
            own |= {"SPARK_WORKER_CORES": "1", "SPARK_WORKER_MEMORY": "3g", "SPARK_WORKER_DIR": str(folder / name)}
        yield Member(name, service, {**shared, **own})


def _free_ports(count: int) -> list[int]:
    sockets: list[socket.socket] = []
    try:
        for port in random.sample(PORTS, len(PORTS)):
            candidate = socket.socket()
            try:
                candidate.bind((HOST, port))
            except OSError:
                candidate.close()
                continue
            sockets.append(candidate)
            if len(sockets) == count:
                return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
    raise Unavailable(f"there are no {count} free ports on {HOST}")
