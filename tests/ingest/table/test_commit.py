"""The commit: one version or none, the same key never twice, plain files with checksums."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from ingest.cleaning.flow import DROPPED, Flow
from ingest.errors import CommitLost
from ingest.table.arrange import HASH, arrange, with_split
from ingest.table.clean import CleanWrite
from ingest.table.commit import commit_key, keep_digests, newest, write_rejects
from millrace.config.sections.ingest import Ingest
from millrace.digests import sha256_of
from millrace.errors import StorageError
from millrace.storage import Store
from millrace.tables.versions import TableVersion, find_table
from tests.ingest.small import Small, rows_of, things

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def key_of(small: Small, **digests: str) -> str:
    return commit_key(small.build().config, digests)


def test_the_key_names_what_the_result_depends_on(tmp_path: Path) -> None:
    small = Small(tmp_path).source(things(3))
    first = key_of(small, things="a")
    assert key_of(small, things="b") != first
    small.source(things(3), file="moved.csv", sha256="0" * 64)
    assert key_of(small, things="a") == first
    small.ingest["max_rejected"] = 0.5
    changed = key_of(small, things="a")
    small.contract["min_rows"] = 2
    assert len({first, changed, key_of(small, things="a")}) == 3


@pytest.mark.spark
class TestWrites:
    @pytest.fixture
    def rows(self, spark: "SparkSession") -> "DataFrame":
        flow = Flow.start(spark.range(40).selectExpr("id", "concat('n', id) AS name"))
        return arrange(with_split(flow.frame, Ingest(base="things", key=("id",))).drop(DROPPED), 1).drop(HASH)

    def write(
        self,
        rows: "DataFrame",
        store: Store,
        key: str,
        parent: TableVersion | None,
        *,
        append: bool = False,
        **more: Any,
    ) -> TableVersion:
        metadata = {"commit_key": key, "run_id": f"run-{key}", "rows_out": 40, **more}
        with CleanWrite(rows.sparkSession, store, "small", parent, append=append) as write:
            write.write(rows)
            return write.commit(metadata)

    def test_versions_follow_each_other(self, rows: "DataFrame", store: Store) -> None:
        assert newest(store, "small") is None
        first = self.write(rows, store, "a", None)
        second = self.write(rows.withColumn("name", rows["id"] + 1), store, "b", first)
        assert (first.version, second.version, second.rows_of()) == (0, 1, 40)
        assert set(second.columns) == {"id", "name", "split"}
        assert (first.columns["name"], second.columns["name"]) == ("string", "long")
        assert find_table(store, "small", "clean", 0).commit == {"commit_key": "a", "run_id": "run-a", "rows_out": 40}
        assert not {HASH, DROPPED} & set(second.columns)

    def test_files_are_plain_parquet_with_checksums(self, rows: "DataFrame", store: Store) -> None:
        version = self.write(rows, store, "a", None)
        assert {file.partition["split"] for file in version.files} == {"train", "validation", "test"}
        for file in version.files:
            read = pq.ParquetFile(file.path, page_checksum_verification=True)
            assert read.schema_arrow.names[:2] == ["id", "name"]
        log = Path(version.uri, "_delta_log", "00000000000000000000.json").read_text().splitlines()
        metadata = next(json.loads(line)["metaData"] for line in log if "metaData" in line)
        protocol = next(json.loads(line)["protocol"] for line in log if "protocol" in line)
        assert metadata["configuration"]["delta.enableDeletionVectors"] == "false"
        assert metadata["partitionColumns"] == ["split"]
        assert protocol["minReaderVersion"] == 1
        damaged = bytearray(Path(version.files[0].path).read_bytes())
        damaged[40] ^= 1
        Path(version.files[0].path).write_bytes(damaged)
        with pytest.raises(OSError, match="CRC"):
            pq.ParquetFile(version.files[0].path, page_checksum_verification=True).read()

    def test_the_same_write_twice_adds_nothing(self, rows: "DataFrame", store: Store) -> None:
        """A writer that did not see its own success writes again from the same parent."""
        first = self.write(rows, store, "a", None)
        again = self.write(rows, store, "a", None, run_id="other")
        assert (again.version, again.commit["run_id"]) == (first.version, "run-a")

    def test_the_same_content_comes_back_after_another(self, rows: "DataFrame", store: Store) -> None:
        first = self.write(rows, store, "a", None)
        second = self.write(rows, store, "b", first)
        assert self.write(rows, store, "a", second).version == 2

    def test_another_writer_was_faster(self, rows: "DataFrame", store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        other = self.write(rows, store, "other", None)
        monkeypatch.setattr("ingest.table.clean.newest", lambda *_: other)
        monkeypatch.setattr("ingest.table.commit.newest", lambda *_: other)
        with pytest.raises(CommitLost, match=r"changed since this run started \(it did not exist\)"):
            self.write(rows, store, "a", None)

    def test_writers_at_once(self, rows: "DataFrame", store: Store) -> None:
        """Both see the version of the one that won."""
        rows.persist().count()
        with ThreadPoolExecutor(2) as pool:
            tries = [pool.submit(self.write, rows, store, "a", None, run_id=run_id) for run_id in ("one", "two")]
        versions = [attempt.result() for attempt in tries]
        rows.unpersist()
        assert [version.version for version in versions] == [0, 0]
        assert len({version.commit["run_id"] for version in versions}) == 1
        assert len(rows_of(store, "clean")) == 40

    def test_rows_that_are_added(self, rows: "DataFrame", store: Store) -> None:
        first = self.write(rows, store, "a", None)
        second = self.write(rows, store, "b", first, append=True)
        assert (second.version, second.rows_of()) == (1, 80)
        # One that started from the first version too, and saw other files, must not add them once more.
        with pytest.raises(CommitLost, match="changed since this run started"):
            self.write(rows, store, "c", first, append=True)
        assert find_table(store, "small", "clean").rows_of() == 80

    def test_digests_are_kept_and_carried_on(self, rows: "DataFrame", store: Store) -> None:
        first = self.write(rows, store, "a", None)
        assert {file.sha256 for file in first.files} == {""}
        keep_digests(None, store, first, None)
        first = find_table(store, "small", "clean")
        assert all(file.sha256 == sha256_of(Path(file.path)) for file in first.files)
        Path(first.files[0].path).write_bytes(b"damaged")
        second = self.write(rows, store, "b", first, append=True)
        keep_digests(None, store, second, first)
        digests = {file.path: file.sha256 for file in find_table(store, "small", "clean").files}
        assert all(digests[file.path] == file.sha256 for file in first.files)
        assert all(digests.values())

    def test_a_version_with_other_rows_than_meant(self, rows: "DataFrame", store: Store) -> None:
        with pytest.raises(StorageError, match="new files have 40 rows, expected 41"):
            self.write(rows, store, "a", None, rows_out=41)

    def test_a_disk_that_takes_nothing(self, rows: "DataFrame", store: Store) -> None:
        Path(store.uri("tables", "small")).mkdir(parents=True)
        Path(store.uri("tables", "small", "clean")).write_text("in the way")
        with pytest.raises(StorageError, match="writing the clean table"):
            self.write(rows, store, "a", None)

    def test_rejects_of_two_runs_at_once(self, spark: "SparkSession", store: Store) -> None:
        frame = spark.sql("SELECT 's' AS source, 'f' AS source_file, '?' AS reason, 'r' AS record, 'a' AS commit_key")
        with ThreadPoolExecutor(2) as pool:
            tries = [pool.submit(write_rejects, frame, store, "small", "a") for _ in range(2)]
        assert [attempt.result() for attempt in tries] == [None, None]
        assert len(rows_of(store, "rejects")) == 1

    def test_rejects_are_added_once_for_each_key(self, spark: "SparkSession", store: Store) -> None:
        for key, record in (("a", "1"), ("a", "1"), ("b", "2"), ("a", "1")):
            frame = spark.sql(f"SELECT 's' AS source, 'f' AS source_file, '?' AS reason, '{record}' AS record")
            write_rejects(frame.selectExpr("*", f"'{key}' AS commit_key"), store, "small", key)
        assert sorted((row["commit_key"], row["record"]) for row in rows_of(store, "rejects")) == [
            ("a", "1"),
            ("b", "2"),
        ]
