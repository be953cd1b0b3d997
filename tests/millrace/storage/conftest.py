"""Everything that the store promises holds on both of its file systems."""

import uuid
from pathlib import Path

import pytest

from millrace.storage import Store


@pytest.fixture(params=["local", pytest.param("hdfs", marks=pytest.mark.hdfs)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store, on a local disk and on HDFS."""
    if request.param == "local":
        return Store(str(tmp_path / "store"))
    return Store(f"{request.getfixturevalue('hdfs').hdfs}/{uuid.uuid4().hex}")
