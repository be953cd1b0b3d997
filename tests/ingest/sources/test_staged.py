"""Every file is looked at before a row is parsed: all bad ones are named in one pass, or left out by policy."""

import bz2
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ingest.errors import BadFiles, HeaderMismatch
from tests.ingest.small import HEADER, Small, csv, gzipped, load, things

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


def many(folder: Path, **more: object) -> Small:
    """Ten good files, and five that are not."""
    small = Small(folder)
    packed = gzipped(things(50))
    bad = {
        "b1.csv": packed[:-30],
        "b2.csv": b"",
        "b3.csv": packed[:40] + bytes([packed[40] ^ 8]) + packed[41:],
        "b4.csv": csv("id,name,weight,size", "1,a,1,1"),
        "b5.csv": csv(f"{HEADER},more", "1,a,1,1,1"),
    }
    good = {f"g{n}.csv": (gzipped, bz2.compress, bytes)[n % 3](csv(HEADER, f"{n},a,1,1")) for n in range(10)}
    for name, data in {**good, **bad}.items():
        small.source(data, file=f"in/{name}", **more)
    small.sources["things"]["path"] = "in/*.csv"
    return small


def test_all_are_named_in_one_pass(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    with pytest.raises(BadFiles, match=r"sources\.things: 5 of 15 files are bad") as caught:
        load(many(tmp_path), spark, stack)
    lines = str(caught.value).splitlines()[1:]
    assert [line.split(":")[0].rpartition("/")[2] for line in lines] == [f"b{n}.csv" for n in range(1, 6)]
    for line, reason in zip(lines, ("damaged", "it is empty, 0 bytes", "damaged", "order", "'more'"), strict=True):
        assert reason in line


def test_one_alone_is_told_as_it_is(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    small = many(tmp_path, extra_columns="drop")
    for number in (1, 2, 3):
        (tmp_path / "in" / f"b{number}.csv").unlink()
    with pytest.raises(HeaderMismatch, match=r"b4\.csv"):
        load(small, spark, stack)


def test_a_few_are_left_out(
    spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    small = many(tmp_path, extra_columns="drop", on_bad_file="quarantine", max_bad_files=4)
    source = load(small, spark, stack)["things"]
    assert [Path(name).name for name in source.bad_files] == ["b1.csv", "b2.csv", "b3.csv", "b4.csv"]
    assert (source.rows, source.rejected, source.dropped) == (11, 0, ("more",))
    assert sorted(row["id"] for row in source.frame.collect()) == sorted([*range(10), 1])
    assert {"files", "bad_files", "dropped_columns"} <= set(source.summary())
    assert len([r for r in caplog.records if "left out" in r.message]) == 4
    assert (tmp_path / "in" / "b1.csv").exists()
    small = many(tmp_path, extra_columns="drop", on_bad_file="quarantine", max_bad_files=3)
    (tmp_path / "staging").rename(tmp_path / "old")
    with pytest.raises(BadFiles, match="4 of 15 files are bad, allowed: 3"):
        load(small, spark, stack)
