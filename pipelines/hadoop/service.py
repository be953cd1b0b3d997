"""The daemons: how to start each, and how to check that it works.

``python -m pipelines.hadoop.service NAME`` becomes the daemon. `cluster` starts this command on one machine, and
containers run it. Names and ports come from the environment, with Hadoop's usual ones as defaults, both here and in
``conf/hadoop``, where Hadoop inserts them itself. No name is one that Kubernetes makes, such as ``NAMENODE_PORT``.
"""

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.request import ProxyHandler, build_opener

import pipelines
from millrace.errors import ConfigError, InputMissing

CONF: Final = Path(pipelines.__file__).parents[1] / "conf" / "hadoop"
"""The configuration files that every daemon and client reads."""
TIED: Final = "MILLRACE_TIED"
"""If it is 1, a daemon ends when the process that started it ends, even if that is killed."""
_PR_SET_PDEATHSIG: Final = 1
_LINK: Final = re.compile(r"(?:tcp|udp|sctp)://\S+:\d+")
_LINKED: Final = re.compile(r"(\w+?)_PORT(_\d+_(?:TCP|UDP|SCTP))?(_PROTO|_PORT|_ADDR)?")
Env = Mapping[str, str]


@dataclass(frozen=True)
class Service:
    """A daemon.

    Attributes:
        command: Returns program and arguments, given the environment.
        address: Returns the address of its web page, given the environment.
        is_ready: Whether it works; it is given a function that loads a path of its web page.
        prepare: Runs before the daemon starts, and does something only once.
    """

    command: Callable[[Env], list[str]]
    address: Callable[[Env], str]
    is_ready: Callable[[Callable[[str], Any], Env], bool]
    prepare: Callable[[Env], None] = lambda env: None


def hadoop_jars() -> Path:
    """Return the folder of Hadoop's jars, which `make hadoop` creates.

    Raises:
        InputMissing: There are no jars.
    """
    folder = Path(os.environ.get("MILLRACE_HADOOP_HOME") or Path(sys.prefix, "share", "hadoop"))
    if not any(folder.glob("hadoop-client-minicluster-*.jar")):
        raise InputMissing(f"there is no Hadoop in {folder}", hint="run: make hadoop")
    return folder


def spark_home() -> Path:
    """Return the folder of the installed pyspark, without importing it."""
    from importlib.util import find_spec

    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise InputMissing("pyspark is not installed", hint="install millrace[spark]")
    return Path(spec.origin).parent


def java() -> str:
    """Return the path of ``java``.

    Raises:
        ConfigError: It is not installed.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin" if home else None)
    if found is None:
        raise ConfigError("there is no java", hint="install Java 17 or newer, or set JAVA_HOME")
    return found


def hadoop_command(main: str, heap_mb: int) -> Callable[[Env], list[str]]:
    """Return a function that builds the command of one of Hadoop's classes for an environment."""

    def command(env: Env) -> list[str]:
        jars = spark_home() / "jars"
        shared = ("hadoop-client-api-*", "hadoop-client-runtime-*", "slf4j-api-*", "log4j-*", "jcl-over-slf4j-*")
        paths = [CONF, *hadoop_jars().glob("*.jar"), *(p for name in shared for p in sorted(jars.glob(f"{name}.jar")))]
        # For small daemons, a second compiler and parallel collectors cost more memory and time than they save.
        options = [f"-Xmx{env.get('HADOOP_HEAP_MB', heap_mb)}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        options += ["--add-opens=java.base/java.lang=ALL-UNNAMED", "-Djava.net.preferIPv4Stack=true"]
        return [java(), *options, "-cp", os.pathsep.join(map(str, paths)), main]

    return command


def _spark(main: str, *arguments: str) -> Callable[[Env], list[str]]:
    def command(env: Env) -> list[str]:
        return [str(spark_home() / "bin" / "spark-class"), main, *(a.format_map(env) for a in arguments)]

    return command


def _address(host: str, host_default: str, port: str, port_default: int) -> Callable[[Env], str]:
    return lambda env: f"http://{env.get(host, host_default)}:{env.get(port, str(port_default))}"


def _format_namenode(env: Env) -> None:
    current = Path(env.get("HADOOP_DATA", "/hadoop/data"), "namenode", "current")
    if any(path for pattern in ("fsimage_*", "edits_*") for path in current.glob(pattern)):
        return
    # A format that was interrupted has left a folder without an image, which would be refused for ever. It is removed
    # here, never by -force: the configuration may name another folder, and what is in that one must not be replaced.
    if current.is_dir():
        shutil.rmtree(current)
    command = [*SERVICES["namenode"].command(env), "-format", "-nonInteractive"]
    subprocess.run(command, env=dict(env), check=True, stdout=sys.stderr)


def _namenode_ready(get: Callable[[str], Any], env: Env) -> bool:
    state = get("/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState")["beans"][0]
    wanted = int(env.get("DATANODES", "1"))
    # DataNodes that wait for this check must not be waited for: a NameNode that has blocks leaves safe mode only when
    # they have reported them.
    return wanted == 0 or bool(state["FSState"] == "Operational" and state["NumLiveDataNodes"] >= wanted)


def _datanode_ready(get: Callable[[str], Any], env: Env) -> bool:
    found = get("/jmx?qry=Hadoop:service=DataNode,name=DataNodeInfo")["beans"][0]
    actors = json.loads(found["BPServiceActorInfo"])
    return bool(actors) and all(actor["ActorState"] == "RUNNING" for actor in actors)


def _resourcemanager_ready(get: Callable[[str], Any], env: Env) -> bool:
    return bool(get("/ws/v1/cluster/metrics")["clusterMetrics"]["activeNodes"] >= int(env.get("NODEMANAGERS", "1")))


def _nodemanager_ready(get: Callable[[str], Any], env: Env) -> bool:
    return bool(get("/ws/v1/node/info")["nodeInfo"]["nodeHealthy"])


def _master_ready(get: Callable[[str], Any], env: Env) -> bool:
    return bool(get("/json/")["aliveworkers"] >= int(env.get("SPARK_WORKERS", "1")))


def _worker_ready(get: Callable[[str], Any], env: Env) -> bool:
    return bool(get("/json/")["masterurl"])


_SERVER = "org.apache.hadoop"
SERVICES: Final[dict[str, Service]] = {
    "namenode": Service(
        hadoop_command(f"{_SERVER}.hdfs.server.namenode.NameNode", 256),
        _address("NAMENODE_HOST", "namenode", "NAMENODE_HTTP_PORT_NUMBER", 9870),
        _namenode_ready,
        _format_namenode,
    ),
    "datanode": Service(
        hadoop_command(f"{_SERVER}.hdfs.server.datanode.DataNode", 128),
        _address("DATANODE_HOST", "localhost", "DATANODE_HTTP_PORT_NUMBER", 9864),
        _datanode_ready,
    ),
    "resourcemanager": Service(
        hadoop_command(f"{_SERVER}.yarn.server.resourcemanager.ResourceManager", 192),
        _address("RESOURCEMANAGER_HOST", "resourcemanager", "RESOURCEMANAGER_HTTP_PORT_NUMBER", 8088),
        _resourcemanager_ready,
    ),
    "nodemanager": Service(
        hadoop_command(f"{_SERVER}.yarn.server.nodemanager.NodeManager", 192),
        _address("NODEMANAGER_HOST", "nodemanager", "NODEMANAGER_HTTP_PORT_NUMBER", 8042),
        _nodemanager_ready,
    ),
    # Host, ports and sizes of these two: Spark reads SPARK_MASTER_HOST, SPARK_WORKER_CORES and so on itself.
    "spark-master": Service(
        _spark("org.apache.spark.deploy.master.Master"),
        _address("SPARK_MASTER_HOST", "spark-master", "SPARK_MASTER_WEBUI_PORT", 8080),
        _master_ready,
    ),
    "spark-worker": Service(
        _spark("org.apache.spark.deploy.worker.Worker", "{SPARK_MASTER_URL}"),
        _address("SPARK_LOCAL_IP", "localhost", "SPARK_WORKER_WEBUI_PORT", 8081),
        _worker_ready,
    ),
}


def is_ready(name: str, env: Env, timeout_s: float = 5) -> bool:
    """Whether a daemon works; also the health check of its container."""
    service = SERVICES[name]
    opener = build_opener(ProxyHandler({}))  # never use a proxy for the cluster's own addresses

    def get(path: str) -> Any:
        with opener.open(service.address(env) + path, timeout=timeout_s) as response:
            return json.load(response)

    try:
        return service.is_ready(get, env)
    except (OSError, ValueError, LookupError):
        return False  # not up yet, or only partly


def without_links(env: Env) -> dict[str, str]:
    """Return an environment without what Kubernetes and Docker add for each service, such as ``NAME_PORT=tcp://...``.

    Spark reads SPARK_MASTER_PORT and SPARK_WORKER_PORT as numbers. A Service of that name would stop it. A variable of
    the user's stays, even if its value is an address.
    """
    return {name: value for name, value in env.items() if not _is_link(name, env)}


def _is_link(name: str, env: Env) -> bool:
    found = _LINKED.fullmatch(name)
    if not found:
        return False
    service, port, part = found.groups()
    if port:
        return _has_link(f"{service}_PORT{port}", env)  # a part, such as _ADDR, is a link's if the whole is
    names = ((other, _LINKED.fullmatch(other)) for other in env)
    others = (other for other, match in names if match and match[1] == service and match[2] and _has_link(other, env))
    return not part and _has_link(name, env) and (f"{service}_SERVICE_HOST" in env or any(others))


def _has_link(name: str, env: Env) -> bool:
    return _LINK.fullmatch(env.get(name, "")) is not None


def become(name: str, env: Env) -> None:
    """Replace this process by a daemon."""
    if env.get(TIED) == "1":
        # This survives exec: the kernel ends the daemon when its parent ends, however that happens.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:
            sys.exit("the parent ended already")
    service = SERVICES[name]
    service.prepare(env)
    command = service.command(env)
    os.execve(command[0], command, dict(env))  # noqa: S606 - without a shell on purpose


def main() -> None:
    """Run the daemon ``NAME``; with ``check NAME``, exit with 0 if it works and 1 if not."""
    *check, name = sys.argv[1:] or [""]
    if name not in SERVICES or check not in ([], ["check"]):
        sys.exit(f"usage: service [check] {'|'.join(SERVICES)}")
    env = without_links(os.environ)
    if check:
        sys.exit(0 if is_ready(name, env) else 1)
    become(name, env)


if __name__ == "__main__":
    main()
