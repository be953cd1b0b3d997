"""The members of a cluster: every one has ports of its own."""

import os
from pathlib import Path

import psutil

from pipelines.hadoop.layout import DATANODE_PORTS, PORTS, WORKER_PORTS, Member, Size, plan_members


def test_who_is_there() -> None:
    assert [name for name, _ in Size(datanodes=2, yarn=False, spark_workers=0).members] == [
        "namenode", "datanode-1", "datanode-2",
    ]  # fmt: skip
    assert len(list(Size().members)) == 9


def test_no_port_is_given_twice(tmp_path: Path) -> None:
    members = list(plan_members(tmp_path, Size()))
    shared = {k: v for k, v in members[0].env.items() if k.endswith(("_PORT", "_PORT_NUMBER"))}
    own = [m.env[key] for m in members for key in (*DATANODE_PORTS, *WORKER_PORTS) if key in m.env]
    ports = [int(port) for port in [*shared.values(), *own]]
    assert len(set(ports)) == len(ports) == 12 + 3 * 3 + 2 * 2
    assert all(port in PORTS for port in ports)
    assert len({m.env["HADOOP_DATA"] for m in members}) == len(members)


def test_another_process_with_the_same_number_is_not_taken_for_the_daemon() -> None:
    started = psutil.Process().create_time()
    assert Member("a", "namenode", pid=os.getpid(), started=started).process() is not None
    assert Member("a", "namenode", pid=os.getpid(), started=started - 1).process() is None
    assert Member("a", "namenode").process() is None
