"""What a run has to read, for every source that is used and for no other."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ingest.sources.load import load_sources
from ingest.sources.snapshots import find_snapshots
from ingest.sources.staged import open_sources
from millrace.errors import InputMissing
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
    monkeypatch.setattr("ingest.spark.parallel.SPREAD_BYTES", -1)
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
    opened = open_sources(product, find_snapshots(product, spark, folder), spark, folder)
    assert [file.uri.removeprefix(hdfs.hdfs) for file in opened["things"].staged] == [
        "/sources/day=1/part.csv",
        "/staging/things/00001-00000",
    ]
    source = load_sources(product, opened, spark, stack)["things"]
    assert (source.rows, source.rejected) == (22, 1)
    assert {(row["day"], row["id"]) for row in source.frame.where("id > 18").collect()} == {(1, 19), (2, 90)}
    assert source.rejects is not None
    (reject,) = source.rejects.collect()
    assert (reject["source_file"], reject["line"]) == (f"{hdfs.hdfs}/sources/day=2/part.csv", 3)
    small.sources["things"]["path"] = f"{hdfs.hdfs}/none/*"
    with pytest.raises(InputMissing, match="no file matches hdfs://"):
        find_snapshots(small.build(), spark, folder)
