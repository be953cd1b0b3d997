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
from ingest.staging.shape import Shape
from tests.ingest.small import Small, load

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TABLE = pa.table({"id": pa.array(range(100)), "name": [f"n{n}" for n in range(100)]})
SHAPE = Shape({"id": "bigint", "name": "string"})
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
        (
            TABLE.set_column(1, "name", TABLE["id"].cast(pa.timestamp("ns"))),
            r"column 'name': expected string, found timestamp\[ns\]",
        ),
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
