"""Parsing: a bad line is found whatever is selected, with its column, value and raw text."""

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyspark.sql import functions as F

from ingest.grammar.parse import explain
from ingest.readers.delimited import DelimitedReader
from ingest.readers.raw import rejected_rows
from ingest.spark.columns import FILE, REASON, RECORD, quoted
from ingest.staging.shape import Shape
from millrace.config.checks.reader_options import read_options
from millrace.config.sections.sources import Source
from tests.ingest.small import csv

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from ingest.staging.staged_file import StagedFile

pytestmark = pytest.mark.spark

TYPES = {
    "i": "int", "b": "boolean", "d": "double", "f": "float", "t": "timestamp", "n": "decimal(6,2)", "s": "string",
}  # fmt: skip
GOOD = "1,true,1.5,2.5,2024-01-02 03:04:05,12.34,x"


def parsed(
    spark: "SparkSession", folder: Path, data: bytes, types: dict[str, str] = TYPES, **options: Any
) -> "tuple[DataFrame, DelimitedReader, list[StagedFile]]":
    (folder / "data.csv").write_bytes(data)
    source = Source.model_validate({"path": ["data.csv"], "columns": types, "options": options})
    reader = DelimitedReader(Shape.of(source), read_options(source))
    files = reader.stage(str(folder / "data.csv"), str(folder / "staged" / "00000"))
    return reader.read(spark, files), reader, files


def reasons(spark: "SparkSession", folder: Path, data: bytes, types: dict[str, str], **options: Any) -> dict[str, str]:
    frame, reader, _ = parsed(spark, folder, data, types, **options)
    return rejects(frame, reader)


def rejects(frame: "DataFrame", reader: DelimitedReader) -> dict[str, str]:
    reason = explain(F.col(quoted(REASON)), reader.shape.declared)
    return {row[RECORD]: row[REASON] for row in rejected_rows(frame).withColumn(REASON, reason).collect()}


BAD = {
    "2147483648,true,1,1,2024-01-02,1,x": "column 'i': '2147483648' is not of type int",
    "1.0,true,1,1,2024-01-02,1,x": "column 'i': '1.0' is not of type int",
    " 1,true,1,1,2024-01-02,1,x": "column 'i': ' 1' is not of type int",
    "1,maybe,1,1,2024-01-02,1,x": "column 'b': 'maybe' is not of type boolean",
    "1,true,abc,1,2024-01-02,1,x": "column 'd': 'abc' is not of type double",
    "1,true,1e400,1,2024-01-02,1,x": "column 'd': '1e400' is not a finite number",
    "1,true,NaN,1,2024-01-02,1,x": "column 'd': 'NaN' is not a finite number",
    "1,true,-Inf,1,2024-01-02,1,x": "column 'd': '-Inf' is not a finite number",
    "1,true,1,1e39,2024-01-02,1,x": "column 'f': '1e39' is not a finite number",
    "1,true,1,1,2024-13-02,1,x": "column 't': '2024-13-02' is not of type timestamp",
    "1,true,1,1,2024-01-02,12345.67,x": "column 'n': '12345.67' is not of type decimal(6,2)",
    "1,true,1,1,2024-01-02,1": "expected 7 fields, found 6",
    '1,true,1,1,2024-01-02,1,"x,y",z': "expected 7 fields, found 8",
    "1": "expected 7 fields, found 1",
}


def test_every_bad_line_has_its_reason(spark: "SparkSession", tmp_path: Path) -> None:
    data = csv(",".join(TYPES), GOOD, *BAD, "NA,NA,NA,NA,NA,NA,NA", GOOD)
    assert reasons(spark, tmp_path, data, TYPES, nullValue="NA") == BAD


def test_good_lines_keep_their_values(spark: "SparkSession", tmp_path: Path) -> None:
    last = '-2147483648,FALSE,-0.0,1e38,2024-01-02T03:04:05+01:00,-9999.99,"a ""b"", ä\\"'
    frame, *_ = parsed(spark, tmp_path, csv(",".join(TYPES), GOOD, "NA,NA,NA,NA,NA,NA,NA", last), nullValue="NA")
    first, nulls, third = frame.collect()
    assert (first["i"], first["b"], first["d"], first["n"], first["s"]) == (1, True, 1.5, Decimal("12.34"), "x")
    assert [nulls[name] for name in TYPES] == [None] * len(TYPES)
    assert (third["i"], third["b"], third["f"], third["n"]) == (
        -(2**31),
        False,
        pytest.approx(1e38),
        Decimal("-9999.99"),
    )
    assert third["t"] != first["t"]
    assert third["s"] == 'a "b", ä\\'
    assert [row[name] for row in (first, nulls, third) for name in (REASON, RECORD)] == [None] * 6
    assert {row[FILE] for row in (first, nulls, third)} == {"00000-00000"}


def test_bytes_that_are_no_text(spark: "SparkSession", tmp_path: Path) -> None:
    found = reasons(spark, tmp_path, b"a,b\n1,x\n2,\xff\xfe\n3,\xef\xbf\xbd\n", {"a": "int", "b": "string"})
    assert found == {"2,\ufffd\ufffd": "bytes that are not UTF-8"}


def test_odd_lines_are_rows(spark: "SparkSession", tmp_path: Path) -> None:
    """Quotes around nothing are null, as nothing is."""
    frame, *_ = parsed(spark, tmp_path, b'a\n#y\n""\n\'\n', {"a": "string"})
    assert [row["a"] for row in frame.collect()] == ["#y", None, "'"]


def test_a_zero_byte_is_no_text(spark: "SparkSession", tmp_path: Path) -> None:
    """Spark's default takes it for the start of a comment, and Parquet's readers disagree on it."""
    assert reasons(spark, tmp_path, b"a\n\x00x\ny\n", {"a": "string"}) == {"\x00x": "a NUL character"}


def test_a_backslash_that_escapes_is_an_option(spark: "SparkSession", tmp_path: Path) -> None:
    frame, *_ = parsed(spark, tmp_path, csv("a,b", '"1\\",2",x'), {"a": "string", "b": "string"}, escape="\\")
    assert [row["a"] for row in frame.collect()] == ['1",2']


def test_values_over_several_lines(spark: "SparkSession", tmp_path: Path) -> None:
    data = csv("a,b", '1,"x', 'y"', "2,z", "w,q", "3,u,v", "NA,NA")
    types = {"a": "int", "b": "string"}
    frame, reader, _ = parsed(spark, tmp_path, data, types, multiLine=True, nullValue="NA")
    good = frame.where(f"`{REASON}` is null")
    assert [(row["a"], row["b"]) for row in good.collect()] == [(1, "x\ny"), (2, "z"), (None, None)]
    found = rejects(frame, reader)
    assert found == {"w,q": "column 'a': 'w' is not of type int", "3,u,v": "expected 2 fields, found 3"}


def test_formats_and_separators(spark: "SparkSession", tmp_path: Path) -> None:
    types = {"a": "date", "b": "string"}
    options = {"sep": "\t", "quote": "'", "dateFormat": "dd.MM.yyyy"}
    frame, reader, _ = parsed(spark, tmp_path, csv("a\tb", "31.12.2024\t'x\ty'", "2024-12-31\tz"), types, **options)
    first, second = frame.collect()
    assert (str(first["a"]), first["b"], second["a"]) == ("2024-12-31", "x\ty", None)
    (reason,) = rejects(frame, reader).values()
    assert reason == "column 'a': '2024-12-31' is not of type date (dd.MM.yyyy)"


INTEGERS = {"a": "tinyint", "b": "smallint", "c": "int", "d": "bigint"}
WRITTEN = [
    "", '""', "NA", "0", "-0", "+5", "-5", "+", "-", "--1", "1.0", "1e2", "1,5", "1_0", "0x1f", "007", " 7", "7 ",
    '" 7"', '"7"', '"7', "\t7", "7\x7f", "127", "128", "-128", "-129", "32767", "32768", "2147483647", "-2147483648",
    "2147483648", "9223372036854775807", "9223372036854775808", "1L",
    "null", "true", "\u0663", "\uff15", "1\u00a0", "\u22125",
]  # fmt: skip


@pytest.mark.parametrize("other_digits", [False, True])
@pytest.mark.parametrize("null", [{}, {"nullValue": "NA"}])
def test_integers_that_spark_reads_are_those_of_the_grammar(
    spark: "SparkSession", tmp_path: Path, null: dict[str, str], other_digits: bool
) -> None:
    """Without reasons, Spark's CSV parser reads integers; it must accept what the grammar accepts."""
    texts = [text for text in WRITTEN if other_digits or text.isascii() or text in ("1\u00a0", "\u22125")]
    lines = [f"{text},{text},{text},{text}" for text in texts]
    lines += [",".join(["1"] * place + [text] + ["1"] * (3 - place)) for text in texts for place in range(4)]
    lines += ["1,2,3", "1,2,3,4,5", ",,,"]
    full, reader, files = parsed(spark, tmp_path, csv("a,b,c,d", *lines), INTEGERS, **null)
    assert any(file.lines.has_other_digits for file in files) == other_digits
    assert bool(reader._typed(files, tuple(INTEGERS))) != other_digits
    brief = reader.read(spark, files, brief=True)

    def rows(frame: "DataFrame") -> list[tuple[Any, ...]]:
        is_rejected = F.col(quoted(REASON)).isNotNull()
        values = (F.when(~is_rejected, F.col(name)) for name in INTEGERS)
        return [tuple(row) for row in frame.select(is_rejected, *values).collect()]

    assert rows(brief) == rows(full)
    assert 10 < sum(row[0] for row in rows(full)) < len(lines) - 10


def test_all_bad_lines_are_found_without_reasons(spark: "SparkSession", tmp_path: Path) -> None:
    lines = [GOOD, *BAD, GOOD]
    full, reader, files = parsed(spark, tmp_path, csv(*lines), header=False)
    rejected = F.col(quoted(REASON)).isNotNull()
    found = [row[0] for row in reader.read(spark, files, brief=True).select(rejected).collect()]
    assert found == [row[0] for row in full.select(rejected).collect()] == [False, *[True] * len(BAD), False]
