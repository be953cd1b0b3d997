"""How daemons are started: by this command, on a machine and in a container alike."""

import subprocess
import sys
from pathlib import Path

import pytest

from millrace.errors import InputMissing
from pipelines.hadoop.service import SERVICES, hadoop_jars, is_ready, main


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
    env |= {f"{name}_HTTP_PORT": "1" for name in ports}
    env |= {"SPARK_MASTER_WEBUI_PORT": "1", "SPARK_WORKER_WEBUI_PORT": "1"}
    assert not is_ready(name, env)
    command = [sys.executable, "-m", "pipelines.hadoop.service", "check", name]
    assert subprocess.run(command, env=env, cwd=Path(__file__).parents[3], check=False).returncode == 1
