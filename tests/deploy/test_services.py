"""Run the command and the health check of each service in docker-compose.yml on this machine.

Host names become the loopback address, ports become free ports, and folders become a folder of the test. Commands,
environment and checks are those of the file.
"""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from millrace.models.store import ModelStore
from millrace.storage import Store
from pipelines.commands import cli
from pipelines.hadoop.layout import HOST, Size, plan_members
from pipelines.hadoop.service import TIED
from tests.deploy.conftest import ROOT
from tests.serve import models

pytestmark = [pytest.mark.hdfs, pytest.mark.e2e, pytest.mark.timeout(600)]
SHARED = {"datanode-1": "datanode", "spark-worker-1": "spark-worker"}
"""Copies of a service differ only in their volumes, which `test_compose` checks, so one of each runs."""
DAEMONS = ("namenode", "datanode-1", "resourcemanager", "nodemanager", "spark-master", "spark-worker-1")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass
class Machine:
    """Runs services on this machine instead of in containers."""

    home: Path
    compose: dict[str, Any]
    addresses: dict[str, dict[str, str]]
    api_port: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def namenode(self) -> str:
        return f"{HOST}:{self.addresses['namenode']['NAMENODE_PORT_NUMBER']}"

    def mapped(self, text: str) -> str:
        master = self.addresses["spark-master"]["SPARK_MASTER_URL"]
        for inside, here in {
            "spark://spark-master:7077": master,
            "namenode:8020": self.namenode,
            "/opt/millrace": str(self.home),
            "/var/lib/millrace": str(self.home / "var"),
            "0.0.0.0": HOST,
            "8501": str(self.api_port),
        }.items():
            text = text.replace(inside, here)
        return text

    def command(self, words: list[str]) -> list[str]:
        programs = {"python": sys.executable, "millrace": str(Path(sys.executable).with_name("millrace"))}
        return [programs[words[0]], *map(self.mapped, words[1:])]

    def env(self, name: str) -> dict[str, str]:
        variables = {key: self.mapped(value) for key, value in self.compose["services"][name]["environment"].items()}
        if "HADOOP_USER_NAME" in variables:
            variables["HADOOP_USER_NAME"] = getpass.getuser()  # in containers: millrace
        return {**os.environ, "PYTHONPATH": str(ROOT), TIED: "1", **variables, **self.addresses.get(name, {})}

    def start(self, name: str) -> None:
        command = self.command(self.compose["services"][name]["command"])
        with (self.home / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command, env=self.env(name), cwd=self.home, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.processes[name] = process

    def is_healthy(self, name: str) -> bool:
        check = self.command(self.compose["services"][name]["healthcheck"]["test"][1:])
        return (
            subprocess.run(check, env=self.env(name), cwd=self.home, capture_output=True, check=False).returncode == 0
        )

    def wait(self, name: str, timeout_s: float = 240) -> None:
        started = time.monotonic()
        while not self.is_healthy(name):
            log = (self.home / f"{name}.log").read_text(errors="replace")
            assert self.processes[name].poll() is None, f"{name} ended:\n{log[-3000:]}"
            assert time.monotonic() - started < timeout_s, f"{name} is not healthy:\n{log[-3000:]}"
            time.sleep(1)


@pytest.fixture(scope="module")
def machine(compose: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    home = tmp_path_factory.mktemp("compose")
    members = {each.service: each.env for each in plan_members(home, Size(datanodes=1, yarn=True, spark_workers=1))}
    addresses = {
        name: {
            key: value
            for key, value in members[SHARED.get(name, name)].items()
            if key.endswith(("_PORT", "_PORT_NUMBER", "_HOST"))
            or key in ("HADOOP_DATA", "SPARK_LOCAL_IP", "SPARK_MASTER_URL")
        }
        for name in DAEMONS
    }
    machine = Machine(home, compose, addresses)
    shutil.copytree(ROOT / "conf", home / "conf")
    for profile in (home / "conf" / "profiles").iterdir():
        profile.write_text(machine.mapped(profile.read_text()))
    # As in deploy/Dockerfile.api and deploy/Dockerfile.spark.
    command = [sys.executable, "-m", "pipelines.hadoop.conf", "client-conf"]
    subprocess.run(command, env=machine.env("namenode"), cwd=home, check=True)
    yield machine
    for process in machine.processes.values():
        process.terminate()
    for process in machine.processes.values():
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def daemons(machine: Machine) -> Machine:
    """All daemons, started at the same time: each waits for the daemons that it needs."""
    assert not machine.is_healthy("namenode")
    for name in DAEMONS:
        machine.start(name)
    return machine


def test_every_daemon_becomes_healthy_and_a_killed_one_is_not(daemons: Machine) -> None:
    for name in DAEMONS:
        daemons.wait(name)
    daemons.processes["spark-worker-1"].kill()
    daemons.processes["spark-worker-1"].wait()
    assert not daemons.is_healthy("spark-worker-1")


@pytest.mark.tf
def test_the_api_is_healthy_until_it_ends(daemons: Machine) -> None:
    daemons.wait("datanode-1")
    models.publish(ModelStore(Store(f"hdfs://{daemons.namenode}/millrace")), "flights", "binary")
    daemons.start("api")
    daemons.wait("api")
    daemons.processes["api"].terminate()
    daemons.processes["api"].wait(20)
    assert not daemons.is_healthy("api")


@pytest.mark.skipif(
    "schedule" not in {group.name for group in cli.app.registered_groups}, reason="there is no millrace schedule yet"
)
def test_the_scheduler_is_healthy(daemons: Machine) -> None:
    daemons.start("scheduler")
    daemons.wait("scheduler")
    with pytest.raises(subprocess.TimeoutExpired):  # it still runs
        daemons.processes["scheduler"].wait(3)
        pytest.fail((daemons.home / "scheduler.log").read_text())
    assert "watching" in (daemons.home / "scheduler.log").read_text()
