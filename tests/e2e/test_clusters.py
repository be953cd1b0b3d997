"""All stages on YARN and on a standalone Spark cluster, with the store on HDFS: same results as locally."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from millrace.storage import Store
from millrace.tables.versions import CLEAN, PREDICTIONS
from pipelines.hadoop.cluster import Cluster
from pipelines.hadoop.layout import Size
from tests.e2e.commands import Done, metrics_of, rows_digest, run_command
from train.evaluation.metrics import flatten

pytestmark = [pytest.mark.e2e, pytest.mark.hdfs, pytest.mark.timeout(900)]

PROFILES = ("yarn", "standalone")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for models in the environment of the cluster's daemons."""
    return tmp_path_factory.mktemp("daemons") / "cache"


@pytest.fixture(scope="module")
def cluster(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """HDFS, YARN, and a standalone master with two workers."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MILLRACE_CACHE", str(cache))
        cluster.start(Size(datanodes=1), tied=True)
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def runs(cluster: Cluster, home: Path, made: Store) -> dict[str, Done]:
    """The results of both runs, at the same time: one leaves a third of two cores idle."""

    def run(profile: str) -> Done:
        return run_command(home, "millrace", "run", "shapes.yaml", *where(cluster, profile), **cluster.env)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(PROFILES, pool.map(run, PROFILES), strict=True))


def settings(values: dict[str, str]) -> tuple[str, ...]:
    return tuple(word for key, value in values.items() for word in ("--set", f"{key}={value}"))


def where(cluster: Cluster, profile: str) -> tuple[str, ...]:
    path = cluster.folder / "profiles" / f"{profile}.yaml"
    return "--profile", str(path), *settings({"store.root": f"{cluster.hdfs}/{profile}"})


@pytest.mark.parametrize("profile", PROFILES)
def test_all_stages(cluster: Cluster, runs: dict[str, Done], made: Store, profile: str) -> None:
    store = Store(f"{cluster.hdfs}/{profile}")
    assert runs[profile].code == 0, runs[profile].err
    assert [s["outcome"] for s in runs[profile].result["stages"]] == ["committed"] * 3
    assert rows_digest(store, "shapes", CLEAN) == rows_digest(made, "shapes", CLEAN)
    assert rows_digest(store, "shapes", PREDICTIONS)[0] == rows_digest(made, "shapes", PREDICTIONS)[0]
    here, there = (flatten(metrics_of(each, "shapes")["model"]) for each in (made, store))
    assert there == pytest.approx(here, abs=1e-6)


@pytest.mark.case("D4")
def test_a_driver_in_a_container(cluster: Cluster, cache: Path, runs: dict[str, Done], home: Path) -> None:
    """In cluster mode the driver runs in a YARN container; the result comes from the run record.

    The model is copied into the cache folder that the daemons' environment names, whatever home a container has.
    """
    assert runs["yarn"].code == 0
    shutil.rmtree(cache)
    in_container = settings({"spark.deploy_mode": "cluster", "spark.driver_memory": "1g"})
    options = (*where(cluster, "yarn"), *in_container, "--date", "2014-01-01")
    done = run_command(home, "millrace", "score", "shapes.yaml", *options, **cluster.env)
    assert (done.code, done.result["outcome"]) == (0, "committed"), done.err
    assert "submitted as application_" in done.err
    assert [*cache.rglob("saved_model.pb")]
