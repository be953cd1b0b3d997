"""The flights on YARN and on Spark's own cluster, their store on HDFS: the same rows and metrics as locally."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.jobs.hadoop.cluster import Cluster
from pipelines.jobs.hadoop.layout import Size
from pipelines.storage import Store
from pipelines.tables import CLEAN, PREDICTIONS
from tests.e2e.commands import ROOT, metrics_of, rows_digest, run_command
from train.metrics import flatten

pytestmark = [pytest.mark.e2e, pytest.mark.hdfs, pytest.mark.timeout(900)]

FLIGHTS = str(ROOT / "conf" / "pipelines" / "flights.yaml")
SHORT = ("--set", "train.epochs=1", "--set", "evaluate.gates={}", "--set", "score.split=test")
"""The whole product, with as much training as it takes to compare."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """HDFS, YARN, and a standalone master with two workers."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    cluster.start(Size(datanodes=1), tied=True)
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The flights' store after a run on this machine."""
    folder = tmp_path_factory.mktemp("local")
    done = run_command(folder, "millrace", "run", FLIGHTS, *SHORT)
    assert done.code == 0, done.err
    return Store(str(folder / "millrace-store"))


@pytest.mark.parametrize("profile", ["yarn", "standalone"])
def test_the_same_product_on_a_cluster(
    profile: str, cluster: Cluster, tmp_path: Path, local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    store = Store(f"{cluster.hdfs}/{profile}")
    where = ("--profile", str(cluster.folder / "profiles" / f"{profile}.yaml"), "--set", f"store.root={store.root}")
    done = run_command(tmp_path, "millrace", "run", FLIGHTS, *SHORT, *where)
    assert done.code == 0, done.err
    assert [s["outcome"] for s in done.result["stages"]] == ["committed"] * 3
    assert rows_digest(store, "flights", CLEAN) == rows_digest(local, "flights", CLEAN)
    assert rows_digest(store, "flights", PREDICTIONS)[0] == rows_digest(local, "flights", PREDICTIONS)[0]
    here, there = (flatten(metrics_of(each, "flights")["model"]) for each in (local, store))
    assert there == pytest.approx(here, abs=1e-6)
    if profile == "yarn":
        _score_in_the_cluster(tmp_path, where)


def _score_in_the_cluster(folder: Path, where: tuple[str, ...]) -> None:
    """The driver in a container too: what it did is known by its record."""
    there = (
        *SHORT,
        *where,
        "--set",
        "spark.deploy_mode=cluster",
        "--set",
        "spark.driver_memory=1g",
        "--date",
        "2014-01-01",
    )
    done = run_command(folder, "millrace", "score", FLIGHTS, *there)
    assert (done.code, done.result["outcome"]) == (0, "committed"), done.err
    assert "submitted as application_" in done.err
