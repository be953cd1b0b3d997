"""Incremental sources: each file's rows stand in the table once, whatever it is called and however often it comes."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ingest.checks.failures import ContractFailed
from ingest.errors import KeyBroken, RecipeChanged, SourceEmpty
from ingest.table.increments import WRITTEN, find_increment, find_ledger
from millrace.errors import InputMissing
from millrace.failpoints import ENVIRONMENT, FailpointFired
from millrace.runs import RunRecord
from millrace.storage import Store
from millrace.tables.versions import find_table
from tests.ingest.small import HEADER, Small, csv, gzipped, rows_of
from tests.ingest.table.growing import Growing

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def rows(first: int, count: int) -> bytes:
    return csv(HEADER, *(f"{n},name {n},{n % 7},{n / 8}" for n in range(first, first + count)))


@pytest.fixture
def growing(tmp_path: Path, spark: "SparkSession", store: Store) -> Growing:
    return Growing(tmp_path, spark, store)


def skipped_files(record: RunRecord) -> list[tuple[str, str]]:
    skipped: Any = record.details["increment"]
    return [(Path(entry["file"]).name, entry["reason"].partition(" /")[0]) for entry in skipped["skipped"]]


@pytest.mark.spark
def test_only_new_content_is_added(growing: Growing, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    growing.small.contract["min_rows"] = 20
    growing.put("a.csv", rows(0, 20))
    growing.put("twice.csv", rows(0, 20))
    first = growing.run()
    assert (first.outcome, first.version, first.rows_in, first.rows_out) == ("committed", 0, 20, 20)
    assert skipped_files(first) == [("twice.csv", "the same content as")]

    growing.put("renamed.csv", rows(0, 20))
    growing.put("b.csv.gz", gzipped(rows(20, 5) + b"x,bad,1,1\n"))
    growing.put("unfinished.csv", rows(90, 5), age_s=0)
    growing.small.ingest["max_rejected"] = 0.5
    with pytest.raises(RecipeChanged, match="table 'small/clean': columns, steps, contract or functions changed"):
        growing.run()
    growing.small.ingest.pop("max_rejected")
    growing.put("b.csv.gz", gzipped(rows(20, 5)))
    second = growing.run()
    assert (second.outcome, second.version, second.rows_in, second.rows_out) == ("committed", 1, 5, 5)
    assert sorted(skipped_files(second)) == [
        ("renamed.csv", "the same content as"),
        ("twice.csv", "the same content as"),
        ("unfinished.csv", WRITTEN),
    ]
    assert second.details["rows_total"] == 25
    assert growing.ids == list(range(25))
    assert find_table(growing.store, "small", "clean").rows_of() == 25
    assert "renamed.csv: the same content as" in caplog.text

    third = growing.run()
    assert (third.outcome, third.version, third.reason) == ("already_committed", 1, "nothing new")
    for name in ("a.csv", "b.csv.gz", "twice.csv", "renamed.csv", "unfinished.csv"):
        (growing.folder / name).unlink()
    assert growing.run().outcome == "already_committed"


@pytest.mark.spark
def test_what_may_not_be_added(growing: Growing) -> None:
    growing.small.contract["expectations"].append(
        {"expect_column_values_to_be_between": {"column": "weight", "max_value": 100, "mostly": 0.9}}
    )
    growing.put("a.csv", rows(0, 50))
    growing.run()
    growing.put("b.csv", rows(45, 10))
    with pytest.raises(KeyBroken, match="5 rows have a key that is already in the table") as broken:
        growing.run()
    assert "id=45" in str(broken.value)
    growing.put("b.csv", csv(HEADER, "60,a,1,1", "61,b,1,1000"))
    with pytest.raises(ContractFailed, match="max_value 100"):  # of all 52 rows it would be a small share
        growing.run()
    growing.put("b.csv", csv(HEADER))
    with pytest.raises(SourceEmpty):
        growing.run()
    assert (growing.ids, find_table(growing.store, "small", "clean").version) == (list(range(50)), 0)
    empty = growing.run(allow_empty=True)
    assert (empty.version, empty.rows_in, empty.details["empty"]) == (1, 0, True)
    assert growing.run().outcome == "already_committed"
    assert growing.ids == list(range(50))


@pytest.mark.spark
def test_killed_before_the_commit_then_made_anew(growing: Growing, monkeypatch: pytest.MonkeyPatch) -> None:
    growing.put("a.csv", rows(0, 5))
    growing.run()
    growing.put("b.csv", rows(5, 5) + b"\n\n")
    monkeypatch.setenv(ENVIRONMENT, "ingest.before_commit=raise")
    with pytest.raises(FailpointFired):
        growing.run()
    monkeypatch.undo()
    assert growing.run().rejected == 2
    assert (growing.ids, len(rows_of(growing.store, "rejects"))) == (list(range(10)), 2)
    growing.small.steps({"derive": {"double_size": "size * 2"}})
    with pytest.raises(RecipeChanged) as caught:
        growing.run()
    assert "--full" in caught.value.hint
    anew = growing.run(full=True)
    assert (anew.version, anew.rows_in, anew.details["rows_total"]) == (2, 12, 10)
    assert growing.ids == list(range(10))
    growing.put("c.csv", rows(10, 5))
    assert growing.run().version == 3
    assert growing.ids == list(range(15))


@pytest.mark.spark
def test_deliveries_whose_rows_are_arranged_at_another_time(growing: Growing) -> None:
    """Rows are arranged before a join only if its key is unique; all deliveries have the columns in one order."""
    kinds = csv("kind,title", *(f"{n},t{n}" for n in range(7)))
    columns = {"kind": "int", "title": "string"}
    growing.small.source(kinds, name="kinds", file="kinds.csv", columns=columns)
    growing.small.steps({"join": {"source": "kinds", "on": {"size": "kind"}, "columns": {"title": "title"}}})
    growing.put("a.csv", rows(0, 5))
    growing.run()
    growing.small.source(kinds + b"9,x\n9,y\n", name="kinds", file="kinds.csv", columns=columns)
    growing.put("b.csv", rows(5, 5))
    assert growing.run().version == 1
    assert growing.ids == list(range(10))


@pytest.mark.spark
def test_a_bad_file_waits_until_it_is_mended(growing: Growing) -> None:
    growing.small.sources["things"] |= {"on_bad_file": "quarantine", "max_bad_files": 1}
    growing.put("bad.csv.gz", gzipped(rows(5, 5))[:-9])
    with pytest.raises(SourceEmpty, match="none of its files"):
        growing.run()
    growing.put("a.csv", rows(0, 5))
    assert [Path(name).name for name in growing.run().details["sources"]["things"]["bad_files"]] == ["bad.csv.gz"]  # type: ignore[index]
    again = growing.run()
    assert (again.outcome, list(again.details["bad_files"])) == (  # type: ignore[call-overload]
        "already_committed",
        [str(growing.folder / "bad.csv.gz")],
    )
    growing.put("bad.csv.gz", gzipped(rows(5, 5)))
    assert (growing.run().rows_in, growing.ids) == (5, list(range(10)))


def test_no_file_at_all(tmp_path: Path) -> None:
    small = Small(tmp_path).source(b"", incremental=True)
    (tmp_path / "things.csv").unlink()
    with pytest.raises(InputMissing, match=r"there is no file .*things\.csv"):
        find_increment(small.build(), None, "recipe", None)
    assert find_ledger(None, "recipe", full=False) is None


def test_a_file_that_changes_between_two_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Small(tmp_path).source(rows(0, 3), incremental=True, settle_s=0)
    product = small.build()
    (file,) = find_increment(product, None, "recipe", None).snapshot.files
    assert file.name == "things.csv"
    entries = product.source_files("things")
    with (tmp_path / "things.csv").open("ab") as more:
        more.write(b"3,x,1,1\n")
    monkeypatch.setattr(type(product), "source_files", lambda *_: entries)
    found = find_increment(product, None, "recipe", None).snapshot
    assert (found.files, found.skipped) == ((), ((str(tmp_path / "things.csv"), WRITTEN),))
