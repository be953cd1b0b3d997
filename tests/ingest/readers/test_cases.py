"""Inputs from public reports of other tools: the right values, or an error that names column and value."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ingest.errors import ColumnsMismatch, FileUnreadable, HeaderMismatch
from tests.ingest.small import Small, csv, load

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

TYPES = {"id": "int", "ts": "timestamp", "day": "date", "seat": "double", "price": "decimal(10,2)", "ok": "boolean"}


def product(folder: Path, data: bytes, columns: dict[str, Any], **more: Any) -> Small:
    """A product of one source with any columns."""
    small = Small(folder).source(data, columns=columns, **more)
    first, *others = columns
    small.ingest |= {"key": [first], "max_rejected": 1}
    small.contract["expectations"] = [{"expect_column_values_to_not_be_null": {"column": first}}]
    small.features = {"label": first, "inputs": {others[0]: {"as": "category"}}}
    return small


@pytest.mark.case("C", "D", "E", "H", "I", "N", "O")
def test_texts_that_spark_takes_for_something_else(
    spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack
) -> None:
    bad = {
        "1,08:15:00,,,,": "column 'ts': '08:15:00' is not of type timestamp",
        "2,202401,,,,": "column 'ts': '202401' is not of type timestamp",
        "3,2024-01-31T,,,,": "column 'ts': '2024-01-31T' is not of type timestamp",
        "4,2024-01-31 00:00 UTC,,,,": "column 'ts': '2024-01-31 00:00 UTC' is not of type timestamp",
        "5,,202401,,,": "column 'day': '202401' is not of type date",
        "6,,2024,,,": "column 'day': '2024' is not of type date",
        "7,,2024-01-31 garbage,,,": "column 'day': '2024-01-31 garbage' is not of type date",
        "8,,,123d,,": "column 'seat': '123d' is not of type double",
        "9,,,00123F,,": "column 'seat': '00123F' is not of type double",
        "10,,,0x1p3,,": "column 'seat': '0x1p3' is not of type double",
        '11,,,,"1,50",': "column 'price': '1,50' is not of type decimal(10,2)",
        "12,,,,1.234.50,": "column 'price': '1.234.50' is not of type decimal(10,2)",
        "13,,,,,1": "column 'ok': '1' is not of type boolean",
        "14,,,,,yes": "column 'ok': 'yes' is not of type boolean",
        "\u0661,,,,,": "column 'id': '\u0661' is not of type int",
    }
    good = "16,0001-01-01 00:00:00,0001-01-01,1e3,-.5,True"
    data = csv(",".join(TYPES), *bad, good)
    small = product(tmp_path, data, TYPES).learning("ok", "id")
    source = load(small, spark, stack)["things"]
    assert source.rejects is not None
    assert {row["record"]: row["reason"] for row in source.rejects.collect()} == bad
    (row,) = source.frame.selectExpr("id", "cast(ts as string)", "cast(day as string)", "seat", "price", "ok").collect()
    assert [str(value) for value in row] == ["16", "0001-01-01 00:00:00", "0001-01-01", "1000.0", "-0.50", "True"]


@pytest.mark.case("F1", "J", "K")
@pytest.mark.parametrize("multi_line", [False, True])
def test_names_of_our_own_and_names_that_differ_in_case(
    spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack, multi_line: bool
) -> None:
    header = "id,text,x,X,row,value,values,file,reason,record,line,source,#file,#0,a.b,Order Date"
    columns = {"id": "int", "text": "string", "x": "int", "row": "int", "value": "int", "values": "int", "file": "int"}
    columns |= {"reason": "string", "record": "string", "line": "int", "source": "string"}
    data = csv(header, "1,t,3,4,5,6,7,8,r,c,11,s,12,13,14,15", "2,t,bad,4,5,6,7,8,r,c,11,s,12,13,14,15")
    small = product(tmp_path, data, columns, extra_columns="drop", options={"multiLine": multi_line})
    source = load(small, spark, stack)["things"]
    (row,) = source.frame.collect()
    assert tuple(row) == (1, "t", 3, 5, 6, 7, 8, "r", "c", 11, "s")
    assert source.rejects is not None
    (reject,) = source.rejects.collect()
    assert reject["reason"] == "column 'x': 'bad' is not of type int"


@pytest.mark.case("Q")
@pytest.mark.parametrize("file_format", ["csv", "json"])
def test_columns_with_other_names_in_the_file(
    spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack, file_format: str
) -> None:
    csv_data = csv("Order Date,user-id,größe,a.b", "2024-01-31,7,x,1", "31.1.2024,8,x,1")
    lines = (
        '{"Order Date": "2024-01-31", "user-id": 7, "größe": "x", "a.b": 1}\n{"Order Date": "31.1.2024", "user-id": 8, '
    )
    data = csv_data if file_format == "csv" else (lines + '"größe": "x", "a.b": 1}\n').encode()
    columns = {
        "user": {"type": "int", "from": "user-id"},
        "order_date": {"type": "date", "from": "Order Date"},
        "size": {"type": "string", "from": "größe"},
        "dotted": {"type": "int", "from": "a.b"},
    }
    if file_format == "csv":  # its columns have an order
        columns = {name: columns[name] for name in ("order_date", "user", "size", "dotted")}
    small = product(tmp_path, data, columns, format=file_format, file="a.data").learning("size", "user")
    small.ingest["key"] = ["user"]
    source = load(small, spark, stack)["things"]
    (row,) = source.frame.select("user", "order_date", "size", "dotted").collect()
    assert [str(value) for value in row] == ["7", "2024-01-31", "x", "1"]
    assert source.rejects is not None
    (reject,) = source.rejects.collect()
    assert reject["reason"] == "column 'order_date': '31.1.2024' is not of type date"


@pytest.mark.case("M", "Q")
def test_a_header_that_cannot_be_read_is_named(
    spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack
) -> None:
    small = product(tmp_path, csv("id,x,note,note", "1,2,3,4"), {"id": "int", "x": "int"}, extra_columns="drop")
    with pytest.raises(HeaderMismatch, match=r"things\.csv: .*'note' occurs more than once"):
        load(small, spark, stack)
    small = product(tmp_path, csv("Order Date,x", "1,2"), {"id": {"type": "int", "from": "Order date"}, "x": "int"})
    with pytest.raises(HeaderMismatch, match=r"missing 'Order date', unexpected 'Order Date'"):
        load(small, spark, stack)


JSON = {"id": "int", "z": "double", "name": "string", "seen": "timestamp", "price": "decimal(20,10)"}


@pytest.mark.case("A", "B", "G")
def test_lines_that_are_not_one_object(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    what = "the line is not one JSON object"
    bad = {
        '{"id":1}{"id":2}{"id":3}': f"{what}: extra data at character 9",
        '{"id":1} garbage': f"{what}: extra data at character 10",
        '{"id":1},': f"{what}: extra data at character 9",
        "{'id': 1, 'z': 1.0}": f"{what}: expecting property name enclosed in double quotes at character 2",
        '{"id": 01}': f"{what}: expecting ',' delimiter at character 9",
        '{"id": 1, "id": 2}': "a key occurs twice in an object",
        '{"id": 1, "name": {"a": 1, "a": 2}}': "a key occurs twice in an object",
        '{"\\ud800": 1}': "half a character in a key",
        '{"id": 1, "name": ' + '{"a":' * 700 + "1" + "}" * 701: "column 'name': nested too deeply",
        '{"id": 8, "name": NaN}': "column 'name': NaN is not JSON",
        '{"id": 9, "name": [-Infinity]}': "column 'name': -Infinity is not JSON",
        "[" * 5_000: f"{what}: nested too deeply",
        "1": f"{what}: number",
        '{"id": 2, "seen": 1706688960000}': "column 'seen': '1706688960000' is a JSON number, expected a string",
        '{"id": 3, "seen": "1706688960000"}': "column 'seen': '1706688960000' is not of type timestamp",
        '{"id": 4, "name": "a\\u0000b"}': "column 'name': a NUL character",
        '{"id": 5, "name": "\\ud800"}': "column 'name': half a character",
        '{"id": 6, "z": NaN}': "column 'z': 'NaN' is not a finite number",
        '{"id": 7, "z": "1"}': "column 'z': '1' is a JSON string, expected a number",
        '{"id": 1.0}': "column 'id': '1.0' is not of type int",
        '{"id": true}': "column 'id': 'true' is a JSON boolean, expected a number",
    }
    good = [
        '{"id": 10, "name": 1.10, "price": 1234567890.0123456789}',
        '{"id": 11, "name": {"a": [1.10, "ä\\n"], "b": null}, "price": "0.5", "seen": "2024-01-31T08:16Z"}',
        '{"id": 12, "name": 12345678901234567890123456789012345678901234567890.10, "z": 1E2}',
    ]
    data = csv(*bad, *good)
    small = product(tmp_path, data, JSON, format="json", optional=list(JSON)).learning("name", "id")
    source = load(small, spark, stack)["things"]
    assert source.rejects is not None
    assert {row["record"]: row["reason"] for row in source.rejects.collect()} == bad
    rows = source.frame.selectExpr("id", "z", "name", "cast(seen as string) seen", "price").orderBy("id").collect()
    assert [(row["z"], row["name"], row["seen"], str(row["price"])) for row in rows] == [
        (None, "1.10", None, "1234567890.0123456789"),
        (None, '{"a":[1.10,"ä\\n"],"b":null}', "2024-01-31 08:16:00", "0.5000000000"),
        (100.0, "12345678901234567890123456789012345678901234567890.10", None, "None"),
    ]


@pytest.mark.case("B", "F9")
def test_files_that_are_no_lines_of_objects(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    columns = {"id": "int", "z": "int"}
    small = product(tmp_path, csv("[", '{"id": 1, "z": 2},', '{"id": 2, "z": 3}', "]"), columns, format="json")
    with pytest.raises(FileUnreadable, match=r"things\.csv: it is one JSON array; expected lines of one object each"):
        load(small, spark, stack)
    small.source(b'[{"id": 1, "z": 2}]', columns=columns, format="json")
    with pytest.raises(FileUnreadable, match="it is one JSON array"):
        load(small, spark, stack)
    small.source(csv('{"id": 1, "Z": 2}', '{"id": 2, "z": 1}{"id": 3, "z": 1}'), columns=columns, format="json")
    message = "column 'z' is missing, expected int; column 'Z' is not declared, found number"
    with pytest.raises(ColumnsMismatch, match=message):
        load(small, spark, stack)


@pytest.mark.case("G")
def test_json_text_in_a_declared_way(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    columns = {
        "id": {"type": "int", "null_values": ["-"]},
        "seen": {"type": "timestamp", "unit": "seconds"},
        "ok": {"type": "boolean", "true_values": ["Y", 1], "false_values": ["N", 0]},
        "price": {"type": "double", "decimal": ","},
    }
    data = csv(
        '{"id": "7", "seen": 1706688960.5, "ok": 1, "price": "1,5"}',
        '{"id": 8, "seen": "1706688960", "ok": "N", "price": null}',
        '{"id": "-", "seen": null, "ok": true, "price": "1"}',
    )
    small = product(tmp_path, data, columns, format="json").learning("ok", "id")
    rows = load(small, spark, stack)["things"].frame.selectExpr("id", "cast(seen as string)", "ok", "price").collect()
    assert sorted(map(tuple, rows), key=str) == [
        (7, "2024-01-31 08:16:00.5", True, 1.5),
        (8, "2024-01-31 08:16:00", False, None),
        (None, None, True, 1.0),
    ]


@pytest.mark.case("C")
def test_a_json_number_is_read_as_json_says(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack) -> None:
    """Texts are written in the declared way; numbers are not."""
    columns = {
        "id": {"type": "int", "thousands": "."},
        "price": {"type": "double", "decimal": ",", "thousands": "."},
        "exact": {"type": "decimal(10,3)", "decimal": ","},
    }
    data = csv(
        '{"id": 1, "price": 1.234, "exact": 1.234}',
        '{"id": "2.000", "price": "1.234,5", "exact": "1,234"}',
        '{"id": 3, "price": 1234.5, "exact": "1.234"}',
        '{"id": 4.000, "price": 1, "exact": 1}',
        '{"id": 5, "price": 12e-1, "exact": null}',
    )
    small = product(tmp_path, data, columns, format="json").learning("price", "id")
    small.features["inputs"] = {"price": {"as": "numeric"}}
    source = load(small, spark, stack)["things"]
    rows = source.frame.selectExpr("id", "price", "cast(exact as string)").orderBy("id").collect()
    assert list(map(tuple, rows)) == [(1, 1.234, "1.234"), (5, 1.2, None), (2000, 1234.5, "1.234")]
    assert source.rejects is not None
    assert sorted(row["reason"][:13] for row in source.rejects.collect()) == ["column 'exact", "column 'id': "]


@pytest.mark.parametrize("multi_line", [False, True])
@pytest.mark.parametrize("null", [{}, {"nullValue": "NA"}])
def test_an_empty_field_is_null_with_and_without_quotes(
    spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack, null: dict[str, str], multi_line: bool
) -> None:
    columns = {"id": "int", "name": "string", "size": "int", "day": "date"}
    data = csv("id,name,size,day", "1,,,", '2,"","",""', '3," ",3,2024-01-31')
    small = product(tmp_path, data, columns, options={**null, "multiLine": multi_line})
    source = load(small, spark, stack)["things"]
    rows = source.frame.selectExpr("id", "name", "size", "cast(day as string)").orderBy("id").collect()
    assert list(map(tuple, rows)) == [(1, None, None, None), (2, None, None, None), (3, " ", 3, "2024-01-31")]
    assert source.rejected == 0
