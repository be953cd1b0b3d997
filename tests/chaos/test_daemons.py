"""Short form of ``make chaos`` on HDFS. It shares the daemons with the tests that are not end-to-end tests."""

from pathlib import Path

import pytest

from chaos import daemons
from chaos.workspace import ROWS, Workspace
from pipelines.hadoop.cluster import Cluster

pytestmark = [pytest.mark.hdfs, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The golden workspace: its clean table comes from an ingest without faults."""
    folder = tmp_path_factory.mktemp("golden")
    workspace = Workspace(folder, str(folder / "store"))
    workspace.write(ROWS)
    done = workspace.run("ingest")
    assert done.code == 0, done.err
    return workspace


def test_a_stage_waits_for_the_namenode(hdfs: Cluster, golden: Workspace, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, f"{hdfs.hdfs}/down", hdfs)
    goals = daemons.namenode_down(workspace, golden, hdfs, {"ingest.before_commit": 5.0})
    assert [goal for goal in goals if not goal.is_reached] == []
