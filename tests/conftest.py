"""Fixtures for all tests: one Spark session and one HDFS for the whole run, and an empty store for each test."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from millrace.config.sections.profile import Spark
from millrace.logs import CONTEXT
from millrace.storage import Store
from pipelines.hadoop.cluster import Cluster, Size
from pipelines.jobs.session import build_session
from tests.java import for_long, start_quickly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession

ROOT = Path(__file__).parent.parent
CONF: dict[str, str | int | float | bool] = {
    # By default 100: the tests repeat many queries, and each would be compiled again.
    "spark.sql.codegen.cache.maxEntries": "10000",
}
start_quickly()
# The same examples in each run, and no limit of time for one of them: the machine may be busy.
settings.register_profile("millrace", deadline=None, derandomize=True)
settings.load_profile("millrace")


@pytest.fixture(autouse=True)
def _restored_logging() -> "Iterator[None]":
    """Restore the logging configuration, because commands change it for the whole process."""
    root = logging.getLogger()
    handlers, level, token = list(root.handlers), root.level, CONTEXT.set(None)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    CONTEXT.reset(token)


@pytest.fixture(scope="session")
def spark() -> "Iterator[SparkSession]":
    """A Spark session with two cores. Its Python workers find the packages even if pytest runs in another folder."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    with for_long():
        session = build_session(Spark(master="local[2]", driver_memory="1g", conf=CONF), app_name="tests")
    yield session
    session.stop()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(str(tmp_path / "store"))


@pytest.fixture(scope="session")
def hdfs(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Cluster]":
    """A real HDFS: a NameNode and three DataNodes, which also end if the tests are killed."""
    cluster = Cluster(tmp_path_factory.mktemp("hadoop"))
    cluster.start(Size(yarn=False, spark_workers=0), tied=True)
    yield cluster
    cluster.stop()


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that share Spark's session, HDFS or TensorFlow, and use a thread for the timeout of HDFS tests.

    A signal cannot interrupt a call into the native client. A timeout by thread ends the whole run.
    """
    for item in items:
        in_process = item.get_closest_marker("tf") and not item.get_closest_marker("e2e")
        if in_process or {"spark", "hdfs"} & {*getattr(item, "fixturenames", ())}:
            item.add_marker("shared")
        if item.get_closest_marker("hdfs"):
            marker = item.get_closest_marker("timeout")
            item.add_marker(pytest.mark.timeout(marker.args[0] if marker else 300, method="thread"))
