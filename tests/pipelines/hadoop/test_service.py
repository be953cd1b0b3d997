"""How daemons are started: by this command, on a machine and in a container alike."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from millrace.errors import InputMissing
from pipelines.hadoop.layout import HOST
from pipelines.hadoop.service import CONF, SERVICES, TIED, hadoop_command, hadoop_jars, is_ready, main, without_links
from tests.deploy.links import is_made_by_kubernetes, service_links
from tests.deploy.test_services import free_port

ROOT = Path(__file__).parents[3]
PACKAGES = ("millrace", "pipelines", "ingest", "train", "serve")
VARIABLE = re.compile(r"""(?:env\.|["'])([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)\b""")
"""Of configuration files, and all texts in Python that look like the name of a variable."""
LINKS = service_links(*SERVICES, "millrace", "spark")


def test_a_hadoop_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_HADOOP_HOME", str(tmp_path))
    with pytest.raises(InputMissing, match="there is no Hadoop in") as caught:
        hadoop_jars()
    assert caught.value.hint == "run: make hadoop"


@pytest.mark.parametrize("arguments", [[], ["namenod"], ["chek", "namenode"], ["check"]])
def test_usage(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["service", *arguments])
    with pytest.raises(SystemExit, match=r"usage: service \[check\] namenode\|"):
        main()


@pytest.mark.parametrize("name", SERVICES)
def test_what_does_not_run_does_not_work(name: str) -> None:
    env = dict.fromkeys(("NAMENODE_HOST", "RESOURCEMANAGER_HOST", "NODEMANAGER_HOST", "SPARK_MASTER_HOST"), "127.0.0.1")
    ports = ("NAMENODE", "DATANODE", "RESOURCEMANAGER", "NODEMANAGER")
    env |= {f"{name}_HTTP_PORT_NUMBER": "1" for name in ports}
    env |= {"SPARK_MASTER_WEBUI_PORT": "1", "SPARK_WORKER_WEBUI_PORT": "1"}
    assert not is_ready(name, env)
    command = [sys.executable, "-m", "pipelines.hadoop.service", "check", name]
    assert subprocess.run(command, env=env, cwd=Path(__file__).parents[3], check=False).returncode == 1


@pytest.mark.hdfs
@pytest.mark.case("K2")
def test_hadoop_reads_its_configuration_beside_services_of_kubernetes() -> None:
    """The Services are called like the daemons, which is how their host names resolve."""
    assert LINKS["NAMENODE_PORT"].startswith("tcp://")
    for key, value in {
        "fs.defaultFS": "hdfs://namenode:8020",
        "dfs.datanode.address": "0.0.0.0:9866",
        "yarn.resourcemanager.address": "resourcemanager:8032",
        "yarn.nodemanager.address": "nodemanager:8041",
    }.items():
        command = [*hadoop_command("org.apache.hadoop.hdfs.tools.GetConf", 64)({}), "-confKey", key]
        done = subprocess.run(command, env={**os.environ, **LINKS}, capture_output=True, text=True, check=False)
        assert done.stdout.splitlines()[-1:] == [value], done.stderr


@pytest.mark.hdfs
@pytest.mark.case("K2")
def test_a_spark_master_starts_beside_a_service_of_its_name() -> None:
    """Spark reads SPARK_MASTER_PORT as a number; Kubernetes sets it to tcp://... for a Service ``spark-master``."""
    own = {"SPARK_MASTER_HOST": HOST, "SPARK_MASTER_WEBUI_PORT": str(free_port()), "SPARK_WORKERS": "0", TIED: "1"}
    env = {**os.environ, "PYTHONPATH": str(ROOT), **LINKS, **own}
    with subprocess.Popen([sys.executable, "-m", "pipelines.hadoop.service", "spark-master"], env=env) as master:
        try:
            started = time.monotonic()
            while not is_ready("spark-master", own):
                assert master.poll() is None, "the master ended"
                assert time.monotonic() - started < 60
                time.sleep(0.2)
        finally:
            master.kill()


@pytest.mark.case("K2")
def test_the_environment_without_what_kubernetes_adds() -> None:
    own = {"NAMENODE_PORT_NUMBER": "8020", "SPARK_MASTER_URL": "spark://spark-master:7077", "PROXY": "http://p:3128"}
    assert without_links({**own, **service_links("namenode", "spark-master")}).items() >= own.items()
    assert not any("tcp://" in value for value in without_links(LINKS).values())


@pytest.mark.case("K2")
def test_addresses_that_the_user_has_set_stay() -> None:
    own = {
        "DOCKER_HOST": "tcp://10.0.0.5:2375",
        "MY_BROKER": "tcp://mq:5672",
        "BROKER_PORT": "tcp://mq:5672",  # there is no service of this name
        "BROKER_PORTS_PORT": "tcp://mq:5672",
        "BROKER_PORTS_PORT_PORT": "tcp://mq:5672",
        "CACHE_PORT_6379_TCP_ADDR": "cache",
        "DB_SERVICE_HOST": "db",
        "DB_HOST": "tcp://db:5432",
        "MY_DB_PORT": "tcp://db:5432",
        "MY_DB_PORT_5432_TCP": "yes",
        "SPARK_MASTER_PORT": "7077",  # overrides the link, as in a manifest
    }
    assert without_links(own) == own
    assert without_links({**service_links("spark-master", "db", "broker-port-web"), **own}).items() >= own.items()


@pytest.mark.case("K2")
@pytest.mark.parametrize("evidence", [{"DB_SERVICE_HOST": "10.96.0.7"}, {"DB_PORT_53_UDP": "udp://[fd00::7]:53"}])
def test_links_are_known_by_the_names_beside_them(evidence: dict[str, str]) -> None:
    """Docker's links have no NAME_SERVICE_HOST."""
    links = {"DB_PORT": "tcp://10.96.0.7:5432", "DB_PORT_5432_TCP": "tcp://10.96.0.7:5432"}
    links |= {f"DB_PORT_5432_TCP_{part}": value for part, value in (("PROTO", "tcp"), ("PORT", "5432"), ("ADDR", "x"))}
    assert set(without_links({**links, **evidence})) <= {"DB_SERVICE_HOST"}
    port = {"DB_PORT": links["DB_PORT"]}
    assert "DB_PORT" not in without_links({**port, **evidence})
    assert without_links(port) == port


@pytest.mark.case("K2")
def test_no_variable_that_we_read_can_be_made_by_kubernetes() -> None:
    """In configuration files and in Python. Spark's own names are Spark's; `without_links` removes wrong values."""
    files = [*CONF.glob("*.xml"), *(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))]
    read = {name for path in files for name in VARIABLE.findall(path.read_text(encoding="utf-8"))}
    assert {"NAMENODE_HOST", "NAMENODE_PORT_NUMBER", "MILLRACE_CACHE", "HADOOP_CONF_DIR"} <= read
    made = {name for name in read if is_made_by_kubernetes(name)}
    assert {name for name in made if not name.startswith(("SPARK_", "PYSPARK_"))} == set()
