"""Sources: every line is a row or a reject, and the sums are proved without Spark."""

import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ingest.errors import HeaderMismatch, LinesLost, SourceChanged, SourceEmpty, TooManyRejected
from ingest.readers.delimited import DelimitedReader
from ingest.sources.find import find_snapshots
from ingest.sources.load import LoadedSource, check_rejected, load_sources
from ingest.sources.rejects import REJECT_COLUMNS
from ingest.sources.staged import stage_sources
from millrace.digests import sha256_of
from tests.ingest.small import HEADER, Small, csv, gzipped, load, things, zipped

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark

KINDS = {"kind": "string", "title": "string"}


def rejects(source: LoadedSource) -> list[tuple[Any, ...]]:
    assert source.rejects is not None
    assert tuple(source.rejects.columns) == REJECT_COLUMNS
    return sorted((row[0], row[1], *row[3:]) for row in source.rejects.collect())


def test_every_line_is_accounted_for(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    bad = ["2,two,99999999999,1", "3,three,3", "4,four,4,1e400", "", "  ", HEADER, "5,five,NA,NA"]
    lines = csv(HEADER, "1,one,1,1.5", *bad, "")
    small = Small(tmp_path).source(lines, options={"nullValue": "NA"})
    small.ingest["max_rejected"] = 0.8
    source = load(small, spark, stack)["things"]
    assert (source.rows, source.rejected) == (9, 7)
    assert [tuple(row) for row in source.frame.collect()] == [(1, "one", 1, 1.5), (5, "five", None, None)]
    file = str(tmp_path / "things.csv")
    assert rejects(source) == [
        ("things", file, "blank line", ""),
        ("things", file, "blank line", ""),
        ("things", file, "blank line", ""),
        ("things", file, "column 'size': '99999999999' is not of type int", "2,two,99999999999,1"),
        ("things", file, "column 'weight': '1e400' is not a finite number", "4,four,4,1e400"),
        ("things", file, "expected 4 fields, found 3", "3,three,3"),
        ("things", file, "repeats the header", HEADER),
    ]
    assert source.summary() == {"file": "things.csv", "sha256": sha256_of(Path(file)), "rows": 9, "rejected": 7}


@pytest.mark.parametrize("multi_line", [False, True])
def test_bad_values_in_columns_that_nobody_selects(
    spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack, multi_line: bool
) -> None:
    """Spark parses what a query asks for: counting rejects alone, its reader finds four of these."""
    columns = {"id": "int", "size": "int", "weight": "double", "seen": "timestamp"}
    good = "1,2,3,2024-01-01"
    bad = ["x,2,3,2024-01-01", "1,x,3,2024-01-01", "1,2,x,2024-01-01", "1,2,3,x", "1,2", f"{good},9", "1,2,1e400,"]
    data = csv(",".join(columns), good, *bad)
    small = Small(tmp_path).source(data, columns=columns, options={"multiLine": multi_line})
    small.ingest["max_rejected"] = 1
    source = load(small, spark, stack)["things"]
    assert (source.rows, source.rejected, len(rejects(source))) == (8, 7, 7)
    assert [row["size"] for row in source.frame.select("size").collect()] == [2]


def test_members_of_a_zip_are_files(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    """Spark alone would read a zip without a word, as rows of garbage."""
    first, second = csv(HEADER, "1,one,1,1", "x,bad,1,1"), csv(f'"id",{HEADER[3:]}', "2,two,2,2")
    small = Small(tmp_path).source(zipped(tmp_path / "made", first_csv=first, second_csv=second))
    small.ingest["max_rejected"] = 0.5
    source = load(small, spark, stack)["things"]
    assert (source.rows, source.rejected) == (3, 1)
    assert sorted(row["id"] for row in source.frame.collect()) == [1, 2]
    reason = "column 'id': 'x' is not of type bigint"
    assert rejects(source) == [("things", f"{tmp_path / 'things.csv'}!first.csv", reason, "x,bad,1,1")]


@pytest.mark.parametrize("file", ["_hidden.csv", "a[b]*{c}?.csv", "a b=%20ü\n.csv", "x.gz"])
def test_hostile_names_are_data(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack, file: str) -> None:
    sources = load(Small(tmp_path).source(things(5), file=file), spark, stack)
    assert sources["things"].rows == sources["things"].frame.count() == 5


def test_gzip_under_a_plain_name(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    assert load(Small(tmp_path).source(gzipped(things(50))), spark, stack)["things"].rows == 50


def test_a_byte_order_mark_is_no_data(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    data = b"\xef\xbb\xbf" + csv("1,a,1,1", "2,b,2,2")
    sources = load(Small(tmp_path).source(data, options={"header": False}), spark, stack)
    assert sorted(row["id"] for row in sources["things"].frame.collect()) == [1, 2]


def test_swapped_headers(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    """Spark alone would read sizes as weights."""
    data = csv("id,name,weight,size", "1,one,2,3")
    with pytest.raises(HeaderMismatch, match="the order differs from column 3 on"):
        load(Small(tmp_path).source(data), spark, stack)


@pytest.mark.parametrize("data", [b"", csv(HEADER), csv(HEADER, "", " "), csv("", "")])
def test_no_rows(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack, data: bytes) -> None:
    with pytest.raises(SourceEmpty, match="things"):
        load(Small(tmp_path).source(data), spark, stack)


@pytest.mark.case("F4", "N")
def test_too_many_malformed_rows(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    data = things(97) + csv(*(f"x{n},bad,1,1" for n in range(3)), *[""] * 50)
    small = Small(tmp_path).source(data)
    small.ingest["max_rejected"] = 0.03
    sources = load(small, spark, stack)
    assert sources["things"].rejected == 53
    check_rejected(small.build().config, sources)
    small.ingest["max_rejected"] = 0.029
    with pytest.raises(TooManyRejected, match=r"53 of 150 rows are malformed, allowed is a share of 0\.029") as caught:
        check_rejected(small.build().config, sources)
    file = tmp_path / "things.csv"
    assert str(caught.value).splitlines()[1:] == [
        f"  blank line: 50 rows, the first in {file}, line 102",
        f"  column 'id': a value is not of type bigint: 3 rows, the first in {file}, line 99",
    ]
    root = shlex.quote(small.build().config.store.root)
    assert caught.value.hint.endswith(f"to see the rows: millrace tables show small/rejects --rows 20 --store {root}")
    small.contract["show_values"] = ["id"]
    with pytest.raises(TooManyRejected, match=r"column 'id': 'x0' is not of type bigint: 3 rows"):
        check_rejected(small.build().config, sources)


def test_only_used_sources_are_read(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    small = Small(tmp_path).source(things(5)).source(b"", name="unused", file="unused.csv")
    small.source(csv("kind,title", "a,A"), name="kinds", file="kinds.csv", columns=KINDS)
    small.steps({"join": {"source": "kinds", "on": {"name": "kind"}, "columns": {"title": "title"}}})
    assert small.build().config.ingest.used_sources == ["things", "kinds"]
    assert {name: source.rows for name, source in load(small, spark, stack).items()} == {"things": 5, "kinds": 1}


def test_a_file_that_grows(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    product = Small(tmp_path).source(things(3)).build()
    staging = str(tmp_path / "staging")
    snapshots = find_snapshots(product, spark, staging)
    with (tmp_path / "things.csv").open("ab") as file:
        file.write(b"4,x,1,1\n")
    with pytest.raises(SourceChanged, match="changed while it was read"):
        load_sources(stage_sources(product, snapshots, spark, staging), spark, stack)


def test_lines_that_spark_loses(
    spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count is independent: rows that vanish inside Spark are noticed."""
    whole = DelimitedReader.read

    def losing(*arguments: Any, **options: Any) -> "DataFrame":
        return whole(*arguments, **options).where("id <> 2")

    monkeypatch.setattr(DelimitedReader, "read", losing)
    with pytest.raises(LinesLost, match=r"things\.csv holds 3 lines of data, but Spark parsed 2"):
        load(Small(tmp_path).source(things(3)), spark, stack)
