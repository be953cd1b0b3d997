"""Profiles with a cluster's own addresses: they are what the shipped ones are, and correct."""

from pathlib import Path

import pytest

from millrace.config import load_product
from pipelines.hadoop.profiles import SHIPPED, write_profiles
from tests.millrace.products import write_product


def test_profiles_of_a_whole_cluster(tmp_path: Path) -> None:
    write_profiles(tmp_path / "profiles", "hdfs://127.0.0.1:9", "http://127.0.0.1:5", "spark://127.0.0.1:7", yarn=True)
    product = write_product(tmp_path)
    for name, master in (("yarn", "yarn"), ("standalone", "spark://127.0.0.1:7")):
        config = load_product(product, profile=str(tmp_path / "profiles" / f"{name}.yaml")).config
        shipped = load_product(product, profile=str(SHIPPED / f"{name}.yaml")).config
        assert (config.spark.master, config.store.root) == (master, "hdfs://127.0.0.1:9/millrace")
        assert shipped.spark.conf.items() <= config.spark.conf.items()
        assert config.ranks == shipped.ranks
        assert config.transfer.url == "http://127.0.0.1:5"


@pytest.mark.parametrize(("master", "yarn", "names"), [(None, True, ["yarn.yaml"]), (None, False, [])])
def test_only_what_the_cluster_has(master: str | None, yarn: bool, names: list[str], tmp_path: Path) -> None:
    write_profiles(tmp_path / "p", "hdfs://h:1", "http://h:2", master, yarn=yarn)
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == ["outside.yaml", *names]


def test_a_machine_outside_keeps_everything_local_but_its_way_to_the_cluster(tmp_path: Path) -> None:
    write_profiles(tmp_path / "p", "hdfs://h:1", "http://h:2", None, yarn=False)
    config = load_product(write_product(tmp_path), profile=str(tmp_path / "p" / "outside.yaml")).config
    assert (config.store.root, config.spark.master) == ("millrace-store", "local[*,4]")
    assert (config.transfer.url, config.transfer.root) == ("http://h:2", "/millrace")
