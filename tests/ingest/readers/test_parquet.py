"""Parquet: the one bad file among many is found, by its footer or by its pages."""

import contextlib
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.errors import ColumnsMismatch, FileUnreadable
from ingest.readers.parquet import ParquetReader
from tests.ingest.small import Small, load, shape_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TABLE = pa.table({"id": pa.array(range(100)), "name": [f"n{n}" for n in range(100)]})
SHAPE = shape_of({"id": "bigint", "name": "string"})
TYPES = {
    "id": ("bigint", pa.int64(), 1), "i": ("int", pa.int32(), 2), "s": ("smallint", pa.int16(), 3),
    "f": ("float", pa.float32(), 0.5), "d": ("double", pa.float64(), None), "b": ("boolean", pa.bool_(), True),
    "t": ("timestamp", pa.timestamp("us", "UTC"), datetime(2024, 1, 2, tzinfo=UTC)),
    "local": ("timestamp", pa.timestamp("ms"), datetime(2024, 1, 2)),
    "day": ("date", pa.date32(), date(2024, 1, 2)), "n": ("decimal(6,2)", pa.decimal128(6, 2), Decimal("1.50")),
    "raw": ("binary", pa.binary(), b"\x00"), "text": ("string", pa.dictionary(pa.int8(), pa.string()), "x"),
}  # fmt: skip


def written(path: Path, table: pa.Table = TABLE, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, write_page_checksum=True, **options)
    return path


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (TABLE.drop_columns("name"), "column 'name' is missing, expected string; its columns are 'id'"),
        (TABLE.set_column(0, "id", TABLE["id"].cast(pa.int32())), "column 'id': expected bigint, found int"),
        (TABLE.rename_columns(["ID", "name"]), "column 'id' is missing.*column 'ID' is not declared, found bigint"),
        (TABLE.append_column("more", TABLE["id"]), "column 'more' is not declared, found bigint"),
    ],
)
def test_other_columns(tmp_path: Path, table: pa.Table, message: str) -> None:
    path = written(tmp_path / "a.parquet", table)
    with pytest.raises(ColumnsMismatch, match=rf"a\.parquet: {message}"):
        ParquetReader(SHAPE).stage(str(path), str(tmp_path / "staged"))


def test_columns_in_another_order_are_the_same(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", TABLE.select(["name", "id"]))
    (file,) = ParquetReader(SHAPE).stage(str(path), str(tmp_path / "staged"))
    assert (file.lines.rows, file.name) == (100, str(path))


def test_damage_of_every_kind(tmp_path: Path) -> None:
    data = written(tmp_path / "good").read_bytes()
    flipped = data[:60] + bytes([data[60] ^ 4]) + data[61:]
    for spoilt in (data[:-20], flipped, data[:4], b"", b"id,name\n1,x\n"):
        (tmp_path / "bad").write_bytes(spoilt)
        with pytest.raises(FileUnreadable, match=r"bad: damaged or not a Parquet file"):
            ParquetReader(SHAPE).stage(str(tmp_path / "bad"), str(tmp_path / "staged"))


@pytest.mark.spark
def test_values_of_every_type(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    nan = {**{name: [value] for name, (_, _, value) in TYPES.items()}, "id": [2], "d": [float("nan")]}
    row = {name: [value] for name, (_, _, value) in TYPES.items()}
    schema = pa.schema([(name, kind) for name, (_, kind, _) in TYPES.items()])
    for number, values in enumerate((row, nan)):
        written(tmp_path / "in" / f"{number}.parquet", pa.table(values, schema))
    small = Small(tmp_path).source(b"", columns={n: t for n, (t, _, _) in TYPES.items()}, format="parquet")
    small.learning("text").sources["things"]["path"] = "in"
    small.ingest["max_rejected"] = 0.5
    source = load(small, spark, stack)["things"]
    assert (source.rows, source.rejected) == (2, 1)
    (found,) = source.frame.collect()
    assert (found["i"], found["s"], found["f"], found["d"], found["n"]) == (2, 3, 0.5, None, Decimal("1.50"))
    assert (found["text"], found["raw"], found["day"]) == ("x", b"\x00", date(2024, 1, 2))
    assert source.frame.where("t = local AND t = timestamp'2024-01-02'").count() == 1
    assert source.rejects is not None
    (reject,) = source.rejects.collect()
    assert (Path(reject["source_file"]).name, reject["reason"]) == (
        "1.parquet",
        "column 'd': 'NaN' is not a finite number",
    )
    assert '"id":2' in reject["record"]


@pytest.mark.spark
@pytest.mark.case("P")
def test_unsigned_integers_and_nanoseconds(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    """As pandas writes them; Spark alone cannot read nanoseconds."""
    ns = [-1, 0, 1_700_000_000_123_456_789]
    table = pa.table(
        {
            "id": pa.array([1, 2, 3], pa.uint32()),
            "tiny": pa.array([0, 255, None], pa.uint8()),
            "small": pa.array([0, 65_535, None], pa.uint16()),
            "big": pa.array([0, 2**64 - 1, None], pa.uint64()),
            "seen": pa.array(ns, pa.timestamp("ns", "UTC")),
            "local": pa.array([1_729_989_000_000_000_000, None, 0], pa.timestamp("ns", "Europe/Paris")),  # occurs twice
        }
    )
    columns = {"id": "bigint", "tiny": "smallint", "small": "int", "big": "decimal(20,0)", "seen": "timestamp"}
    columns["local"] = "timestamp"
    written(tmp_path / "a.parquet", table)
    small = Small(tmp_path).source(b"", columns=columns, format="parquet").learning("tiny")
    small.sources["things"]["path"] = "a.parquet"
    rows = (
        load(small, spark, stack)["things"]
        .frame.selectExpr("*", "unix_micros(seen) us", "unix_micros(local) local_us")
        .orderBy("id")
        .collect()
    )
    assert [(r["tiny"], r["small"], r["big"]) for r in rows] == [
        (0, 0, 0), (255, 65_535, Decimal(2**64 - 1)), (None, None, None),
    ]  # fmt: skip
    assert [r["us"] for r in rows] == [-1, 0, 1_700_000_000_123_456]
    assert [r["local_us"] for r in rows] == [1_729_989_000_000_000, None, 0]
    small.sources["things"]["exact"] = True
    (tmp_path / "staging").rename(tmp_path / "old")
    with pytest.raises(FileUnreadable, match=r"a\.parquet: column 'seen': 2 times are finer than microseconds"):
        load(small, spark, stack)


@pytest.mark.spark
@pytest.mark.parametrize(
    "options",
    [
        {"compression": "brotli"},
        {"compression": "lz4"},
        {"use_dictionary": False, "column_encoding": {"id": "DELTA_BINARY_PACKED", "name": "DELTA_BYTE_ARRAY"}},
    ],
    ids=str,
)
def test_what_spark_cannot_read_is_written_again(
    spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack, options: dict[str, Any]
) -> None:
    data = written(tmp_path / "made", **options).read_bytes()
    small = Small(tmp_path).source(data, columns=SHAPE.columns, format="parquet").learning("name")
    source = load(small, spark, stack)["things"]
    assert (source.rows, source.frame.where("name = concat('n', id)").count()) == (100, 100)


@pytest.mark.spark
@pytest.mark.case("Q", "K")
def test_names_that_are_no_identifiers(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    names = {"order_date": "Order Date", "user": "user-id", "size": "größe", "dots": "a.b.c", "text": "text"}
    table = pa.table({**{written: [n] for n, written in enumerate(names.values())}, "more": [1], "More": [2]})
    columns = {name: {"type": "bigint", "from": written} for name, written in names.items()}
    written(tmp_path / "a.parquet", table)
    small = Small(tmp_path).source(b"", columns=columns, format="parquet", extra_columns="drop").learning("size")
    small.sources["things"]["path"] = "a.parquet"
    small.ingest["key"], small.features["label"] = ["order_date"], "dots"
    small.contract["expectations"] = [{"expect_column_values_to_not_be_null": {"column": "order_date"}}]
    (row,) = load(small, spark, stack)["things"].frame.collect()
    assert row.asDict() == {name: n for n, name in enumerate(names)}


@pytest.mark.case("K")
def test_names_that_spark_cannot_tell_apart(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", TABLE.append_column("ID", TABLE["id"]))
    with pytest.raises(ColumnsMismatch, match=r"a\.parquet: columns 'ID' and 'id' differ only in case"):
        ParquetReader(SHAPE).stage(str(path), str(tmp_path / "staged"))
    twice = pa.Table.from_arrays([TABLE["id"], TABLE["name"], TABLE["id"]], ["id", "name", "id"])
    with pytest.raises(ColumnsMismatch, match=r"b\.parquet: column 'id' occurs 2 times"):
        ParquetReader(SHAPE).stage(str(written(tmp_path / "b.parquet", twice)), str(tmp_path / "staged"))


@pytest.mark.spark
@pytest.mark.case("D")
def test_years_that_only_spark_can_hold(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    """Python has the years 1 to 9999; later stages read the table with it."""
    micros = [253_402_300_799_999_999, 253_402_300_800_000_000, -62_135_596_800_000_000, -62_135_596_800_000_001]
    table = pa.table({"id": pa.array(range(4)), "seen": pa.array(micros, pa.timestamp("us", "UTC"))})
    written(tmp_path / "a.parquet", table)
    columns = {"id": "bigint", "seen": "timestamp"}
    small = Small(tmp_path).source(b"", columns=columns, format="parquet").learning("seen")
    small.features["inputs"] = {"seen": {"as": "cyclic", "period": "day"}}
    small.sources["things"]["path"], small.ingest["max_rejected"] = "a.parquet", 1
    source = load(small, spark, stack)["things"]
    assert [row["id"] for row in source.frame.select("id").orderBy("id").collect()] == [0, 2]
    assert source.rejects is not None
    assert {row["reason"] for row in source.rejects.select("reason").collect()} == {
        "column 'seen': '+10000-01-01 00:00:00' is not in the years 1 to 9999",
        "column 'seen': '0000-12-31 23:59:59.999999' is not in the years 1 to 9999",
    }
