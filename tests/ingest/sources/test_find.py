"""Finding sources: the used ones only, with digests, values from folder names, and changes noticed."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ingest.errors import DigestMismatch, SourceChanged
from ingest.sources.find import find_files, find_snapshots, values_of
from ingest.sources.load import load_sources
from ingest.sources.snapshot import snapshot_of
from ingest.sources.staged import stage_sources
from millrace.config.sections.columns import Column
from millrace.digests import sha256_of
from millrace.errors import ConfigError, InputMissing
from millrace.retry import RetryPolicy
from millrace.storage import files_of
from tests.ingest.small import HEADER, Small, csv, gzipped, things

if TYPE_CHECKING:
    import contextlib

    from pyspark.sql import SparkSession

    from pipelines.hadoop.cluster import Cluster


@pytest.mark.spark
def test_used_sources(spark: "SparkSession", tmp_path: Path) -> None:
    small = Small(tmp_path).source(things(5)).source(b"", name="unused", file="unused.csv")
    small.source(csv("kind", "a"), name="kinds", file="kinds.csv", columns={"kind": "string"})
    small.steps({"join": {"source": "kinds", "on": {"name": "kind"}, "columns": {"title": "kind"}}})
    found = find_snapshots(small.build(), spark, str(tmp_path / "staging"))
    assert {name: len(snapshot.files) for name, snapshot in found.items()} == {"things": 1, "kinds": 1}


@pytest.mark.spark
@pytest.mark.hdfs
def test_files_on_hdfs(
    spark: "SparkSession",
    tmp_path: Path,
    hdfs: "Cluster",
    stack: "contextlib.ExitStack",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Looked at on the executors; a plain file is read where it lies, a packed one is unpacked into the store."""
    monkeypatch.setattr("ingest.spark.executors.SPREAD_BYTES", -1)
    files = files_of(hdfs.hdfs)
    data = {"day=1/part.csv": things(20), "day=2/part.csv": gzipped(csv(HEADER, "90,a,1,1", "x,bad,1,1"))}
    for name, content in {**data, "day=3/_SUCCESS": b"", "day=3/a.csv._COPYING_": b"1"}.items():
        with files.open_output(f"{hdfs.hdfs}/sources/{name}") as file:
            file.write(content)
    columns = {"day": "int", "id": "bigint", "name": "string", "size": "int", "weight": "double"}
    small = Small(tmp_path).source(b"", columns=columns)
    small.sources["things"]["path"] = f"{hdfs.hdfs}/sources/day=*"
    small.ingest["max_rejected"] = 0.5
    product, folder = small.build(), f"{hdfs.hdfs}/staging"
    staged = stage_sources(product, find_snapshots(product, spark, folder), spark, folder)
    assert [file.uri.removeprefix(hdfs.hdfs) for file in staged["things"].files] == [
        "/sources/day=1/part.csv",
        "/staging/things/00001-00000",
    ]
    source = load_sources(staged, spark, stack)["things"]
    assert (source.rows, source.rejected) == (22, 1)
    assert {(row["day"], row["id"]) for row in source.frame.where("id > 18").collect()} == {(1, 19), (2, 90)}
    assert source.rejects is not None
    (reject,) = source.rejects.collect()
    assert (reject["source_file"], reject["line"]) == (f"{hdfs.hdfs}/sources/day=2/part.csv", 3)
    small.sources["things"]["path"] = f"{hdfs.hdfs}/none/*"
    with pytest.raises(InputMissing, match="no file matches hdfs://"):
        find_snapshots(small.build(), spark, folder)


def test_digests(tmp_path: Path) -> None:
    data = things(3)
    small = Small(tmp_path).source(data)
    found = find_files(small.build(), "things").sha256
    assert found == sha256_of(tmp_path / "things.csv")
    small.source(data, sha256=found)
    find_files(small.build(), "things")
    small.source(data + b"4,x,1,1\n", sha256=found)
    with pytest.raises(DigestMismatch, match=f"expected {found}"):
        find_files(small.build(), "things")


def test_files_are_read_with_the_wait_of_the_store(tmp_path: Path) -> None:
    product = Small(tmp_path).source(things(3)).build()
    assert [file.retry for file in find_files(product, "things").files] == [RetryPolicy(product.config.store.wait_s)]


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    product = Small(tmp_path).source(things(3)).build()

    def refuse(path: str, retry: RetryPolicy) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("ingest.sources.find.digest_at", refuse)
    with pytest.raises(ConfigError, match=r"no permission.*things\.csv"):
        find_files(product, "things")
    (tmp_path / "things.csv").unlink()
    with pytest.raises(InputMissing, match=r"things\.csv"):
        find_files(product, "things")


def test_values_in_the_names_of_folders() -> None:
    types = {"dt": "date", "site": "string", "year": "int"}
    columns = {name: Column(type=type_name) for name, type_name in types.items()}
    path = "/data/dt=2024-01-31/site=a%2Fb=c/other=1/year=__HIVE_DEFAULT_PARTITION__/dt=x.csv"
    assert values_of(path, columns) == {"dt": "2024-01-31", "site": "a/b=c", "year": None}
    named = {"day": Column.model_validate({"type": "date", "from": "Order-Day"})}
    named["count"] = Column.model_validate({"type": "int", "from": "row count"})
    assert values_of("/data/Order-Day=2024-01-31/row%20count=7/x.csv", named) == {"day": "2024-01-31", "count": "7"}


def test_the_same_bytes_in_another_folder_are_other_rows(tmp_path: Path) -> None:
    small = Small(tmp_path).source(b"1\n", file="id=1/a.csv")
    small.source(b"1\n", file="id=2/a.csv").sources["things"]["path"] = "id=*/*.csv"
    first, second = find_files(small.build(), "things").files
    assert (first.sha256, first.name, first.values) == (second.sha256, second.name, {"id": "1"})
    assert first.digest != second.digest
    assert snapshot_of("s", [first, second]).sha256 == snapshot_of("s", [second, first]).sha256
    assert snapshot_of("s", [first]).sha256 == first.digest


def test_a_file_that_is_written_to(tmp_path: Path) -> None:
    (file,) = find_files(Small(tmp_path).source(b"1\n").build(), "things").files
    file.check_unchanged()
    (tmp_path / "things.csv").write_bytes(b"2\n3\n")
    with pytest.raises(SourceChanged, match="changed while it was read"):
        file.check_unchanged()
