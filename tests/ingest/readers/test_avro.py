"""Avro: the writer's schema is compared with the declared columns, and damage is found before Spark reads."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastavro
import pytest

from ingest.errors import ColumnsMismatch, FileUnreadable
from ingest.readers.avro import AvroReader, sql_type
from tests.ingest.small import Small, load, shape_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FIELDS = [
    {"name": "id", "type": "long"},
    {"name": "name", "type": ["null", "string"]},
    {"name": "seen", "type": {"type": "long", "logicalType": "timestamp-micros"}},
]
SHAPE = shape_of({"id": "bigint", "name": "string", "seen": "timestamp"})


def written(path: Path, fields: list[dict[str, Any]], rows: int = 500, codec: str = "snappy") -> Path:
    records = [{"id": n, "name": None if n % 2 else f"n{n}", "seen": n, "more": n} for n in range(rows)]
    names = [field["name"] for field in fields]
    schema = fastavro.parse_schema({"type": "record", "name": "thing", "fields": fields})
    with path.open("wb") as file:
        fastavro.writer(file, schema, [{name: r[name] for name in names} for r in records], codec=codec)
    return path


def test_types() -> None:
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}
    assert sql_type(["null", decimal]) == "decimal(6,2)"
    assert sql_type({"type": "int", "logicalType": "date"}) == "date"
    assert sql_type({"type": "enum", "name": "e", "symbols": ["a"]}) == "string"
    assert sql_type({"type": "long", "logicalType": "date"}) == "bigint"
    assert sql_type({"type": "int", "logicalType": "timestamp-millis"}) == "int"
    assert sql_type({"type": "string", "logicalType": "decimal", "precision": 6}) == "string"
    assert sql_type(["int", "string"]) == "union"
    assert sql_type({"type": "array", "items": "int"}) == "array"


def test_other_columns(tmp_path: Path) -> None:
    path = written(tmp_path / "a.avro", [FIELDS[0], {"name": "more", "type": "int"}, FIELDS[2]])
    message = r"a\.avro: column 'name' is missing, expected string; column 'more' is not declared, found int"
    with pytest.raises(ColumnsMismatch, match=message):
        AvroReader(SHAPE).stage(str(path), str(tmp_path / "staged"))


@pytest.mark.parametrize("codec", ["null", "deflate", "snappy"])
def test_damage(tmp_path: Path, codec: str) -> None:
    data = written(tmp_path / "good", FIELDS, codec=codec).read_bytes()
    for spoilt in (data[:-5], data[: len(data) // 2], b"", b"Obj\x01", b"no avro at all"):
        (tmp_path / "bad").write_bytes(spoilt)
        with pytest.raises(FileUnreadable, match=r"bad: damaged or not an Avro file"):
            AvroReader(SHAPE).stage(str(tmp_path / "bad"), str(tmp_path / "staged"))


@pytest.mark.spark
def test_rows(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    data = written(tmp_path / "made", FIELDS).read_bytes()
    small = Small(tmp_path).source(data, columns=SHAPE.columns, format="avro").learning("name")
    source = load(small, spark, stack)["things"]
    assert (source.rows, source.rejected) == (500, 0)
    assert source.frame.where("name IS NULL").count() == 250
    assert source.frame.where("unix_micros(seen) = id").count() == 500
