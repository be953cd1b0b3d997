"""Writing first and committing later: nobody sees a row before the commit, and nothing is left without one."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ingest.cleaning.flow import DROPPED, Flow
from ingest.errors import CommitLost, ExpressionFailed
from ingest.table.arrange import HASH, arrange, with_split
from ingest.table.clean import _PROPERTIES, CleanWrite
from millrace.config.sections.ingest import Ingest
from millrace.errors import ArtifactNotFound, StorageError
from millrace.storage import Store
from millrace.tables.versions import TableVersion, find_table
from tests.ingest.small import rows_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark

INGEST = Ingest(base="things", key=("id",))


def things(spark: "SparkSession", count: int, columns: str = "concat('n', id) AS name") -> "DataFrame":
    flow = Flow.start(spark.range(count).selectExpr("id", columns))
    return arrange(with_split(flow.frame, INGEST).drop(DROPPED), 2).drop(HASH)


def files_in(store: Store) -> list[str]:
    return sorted(path.name for path in Path(store.uri("tables", "small", "clean")).rglob("*.parquet"))


def commit(write: CleanWrite, key: str, rows: int) -> TableVersion:
    return write.commit({"commit_key": key, "run_id": f"run-{key}", "rows_out": rows})


def test_rows_are_seen_at_the_commit_and_not_before(spark: "SparkSession", store: Store) -> None:
    with CleanWrite(spark, store, "small", None) as write:
        write.write(things(spark, 300))
        assert write.rows == 300
        assert sum(write.rows_by("split").values()) == 300
        assert write.read().selectExpr("sum(id)", "count(distinct split)").collect()[0] == (44_850, 3)
        with pytest.raises(ArtifactNotFound):
            find_table(store, "small", "clean")
        version = commit(write, "a", 300)
    assert (version.version, len(rows_of(store, "clean"))) == (0, 300)
    with CleanWrite(spark, store, "small", version) as write:
        write.write(things(spark, 10))
        assert find_table(store, "small", "clean").version == 0
        assert len(rows_of(store, "clean")) == 300
        commit(write, "b", 10)
    assert len(rows_of(store, "clean")) == 10


def test_nothing_is_left_without_a_commit(spark: "SparkSession", store: Store) -> None:
    with pytest.raises(ValueError, match="a check"), CleanWrite(spark, store, "small", None) as write:
        write.write(things(spark, 300))
        assert len(files_in(store)) == 6
        raise ValueError("a check")
    assert files_in(store) == []
    with CleanWrite(spark, store, "small", None) as write:
        write.write(things(spark, 300))
        first = files_in(store)
        write.write(things(spark, 20))
        assert not set(first) & set(files_in(store))
        version = commit(write, "a", 20)
    assert files_in(store) == sorted(Path(file.path).name for file in version.files)


def test_a_row_that_fails_an_expression(spark: "SparkSession", store: Store) -> None:
    with CleanWrite(spark, store, "small", None) as write, pytest.raises(ExpressionFailed, match="DIVIDE_BY_ZERO"):
        write.write(things(spark, 300, "1 / (id - 299) AS name"))


def test_a_paused_writer_changes_nothing(spark: "SparkSession", store: Store) -> None:
    """Two runs start from one version, and each writes its files before the other commits."""
    with CleanWrite(spark, store, "small", None) as write:
        write.write(things(spark, 5))
        parent = commit(write, "a", 5)
    with CleanWrite(spark, store, "small", parent) as slow, CleanWrite(spark, store, "small", parent) as fast:
        slow.write(things(spark, 30))
        fast.write(things(spark, 40))
        version = commit(fast, "fast", 40)
        with pytest.raises(CommitLost):
            commit(slow, "slow", 30)
    newest = find_table(store, "small", "clean")
    assert (newest.version, newest.digest, newest.rows_of()) == (1, version.digest, 40)
    assert {Path(file.path).name for file in (*parent.files, *version.files)} == set(files_in(store))


def test_a_writer_that_starts_after_another_one_committed(spark: "SparkSession", store: Store) -> None:
    """Its snapshot of the table is the new version, so only the number in the log tells that it is too late."""
    with CleanWrite(spark, store, "small", None) as first, CleanWrite(spark, store, "small", None) as late:
        first.write(things(spark, 5))
        commit(first, "a", 5)
        late.write(things(spark, 7))
        with pytest.raises(CommitLost):
            commit(late, "b", 7)
    assert find_table(store, "small", "clean").rows_of() == 5


def test_rows_that_another_program_adds_meanwhile(spark: "SparkSession", store: Store) -> None:
    with CleanWrite(spark, store, "small", None) as write:
        write.write(things(spark, 5))
        parent = commit(write, "a", 5)
    with CleanWrite(spark, store, "small", parent, append=True) as write:
        write.write(things(spark, 3))
        things(spark, 2).write.format("delta").mode("append").save(parent.uri)
        with pytest.raises(CommitLost, match="added data"):
            commit(write, "b", 3)
    parent = find_table(store, "small", "clean")
    assert parent.rows_of() == 7
    with CleanWrite(spark, store, "small", parent) as write:  # which replaces all rows
        write.write(things(spark, 3))
        things(spark, 2).write.format("delta").mode("append").save(parent.uri)
        with pytest.raises(CommitLost, match="added data"):
            commit(write, "c", 3)
    assert find_table(store, "small", "clean").rows_of() == 9


def test_other_columns_are_not_appended(spark: "SparkSession", store: Store) -> None:
    with CleanWrite(spark, store, "small", None) as write:
        write.write(things(spark, 5))
        parent = commit(write, "a", 5)
    with (
        CleanWrite(spark, store, "small", parent, append=True) as write,
        pytest.raises(StorageError, match="has other columns than its new rows"),
    ):
        write.write(things(spark, 5, "id AS name"))


def test_the_log_is_that_of_a_normal_write(
    spark: "SparkSession", store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_PROPERTIES, "delta.checkpointInterval", "2")  # instead of ten
    parent: TableVersion | None = None
    for number in range(4):
        with CleanWrite(spark, store, "small", parent, append=number % 2 == 1) as write:
            write.write(things(spark, 2))
            parent = commit(write, str(number), 2)
    assert parent is not None
    log = Path(parent.uri, "_delta_log")
    actions: list[dict[str, Any]] = [json.loads(line) for line in (log / f"{1:020}.json").read_text().splitlines()]
    info = next(action["commitInfo"] for action in actions if "commitInfo" in action)
    assert (info["operation"], info["operationParameters"]["mode"]) == ("WRITE", "Append")
    assert next(action["txn"] for action in actions if "txn" in action)["version"] == 1
    assert list(log.glob("*2.checkpoint*.parquet"))
    assert spark.read.format("delta").option("versionAsOf", 3).load(parent.uri).count() == 4


def test_a_row_that_fails_an_expression_behind_the_shuffle(spark: "SparkSession", store: Store) -> None:
    """Spark's job then fails with an error of the writer; the error of the row is a cause of it."""
    frame = things(spark, 300).selectExpr("id", "1 / (id - 297) AS name", "split")
    with CleanWrite(spark, store, "small", None) as write, pytest.raises(ExpressionFailed, match="DIVIDE_BY_ZERO"):
        write.write(frame)
