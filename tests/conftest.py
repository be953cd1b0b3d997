"""What every room's tests share: one Spark session for the whole run, and a store of one's own."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipelines.config.sections import Spark
from pipelines.jobs.session import build_session
from pipelines.storage import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession

ROOT = Path(__file__).parent.parent


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
