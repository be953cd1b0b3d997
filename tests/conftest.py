"""What every room's tests share: one Spark session for the whole run, and a store of one's own."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from millrace.config.sections.profile import Spark
from millrace.logs import CONTEXT
from millrace.storage import Store
from pipelines.hadoop.cluster import Cluster, Size
from pipelines.jobs.session import build_session
from tests.java import start_quickly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession

ROOT = Path(__file__).parent.parent
start_quickly()


@pytest.fixture(autouse=True)
def _logging_as_before() -> "Iterator[None]":
    """Commands configure logging for their whole process: what one test sets must not reach the next."""
    root = logging.getLogger()
    handlers, level, token = list(root.handlers), root.level, CONTEXT.set(None)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    CONTEXT.reset(token)


@pytest.fixture(scope="session")
def spark() -> "Iterator[SparkSession]":
    """A session with two cores; its Python workers find the packages wherever pytest was started."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    session = build_session(Spark(master="local[2]", driver_memory="1g"), app_name="tests")
    yield session
    session.stop()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(str(tmp_path / "store"))


@pytest.fixture(scope="session")
def hdfs(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Cluster]":
    """A real HDFS: a NameNode and three DataNodes, which end with the tests however those end."""
    cluster = Cluster(tmp_path_factory.mktemp("hadoop"))
    cluster.start(Size(yarn=False, spark_workers=0), tied=True)
    yield cluster
    cluster.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A call into a native client that never returns cannot be interrupted by a signal: such a test ends the run."""
    for item in items:
        if item.get_closest_marker("hdfs"):
            own = item.get_closest_marker("timeout")
            item.add_marker(pytest.mark.timeout(own.args[0] if own else 300, method="thread"))
