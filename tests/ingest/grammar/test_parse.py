"""How a column may declare that its text is written, and what a reason says; test_properties.py has the defaults."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from pyspark.sql import functions as F

from ingest.grammar.parse import mismatch, text_of, value_of
from millrace.config.sections.columns import Column

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
Case = tuple[dict[str, Any], dict[str, Any]]

COMMA = {"type": "decimal(10,2)", "decimal": ","}
GROUPED = {"type": "double", "decimal": ",", "thousands": "."}
CASES: list[Case] = [
    (COMMA, {"1,50": Decimal("1.50"), "1.50": None, "1,5,0": None, "-,5": Decimal("-0.50"), "1,005": Decimal("1.01")}),
    (
        GROUPED,
        {
            "1.234,5": 1234.5,
            "1234,5": 1234.5,
            "12.34,5": None,
            "1.234.567": 1234567.0,
            "1..234": None,
            ".5": None,
            "0.001": None,
            "0": 0.0,
        },
    ),
    (
        {"type": "int", "thousands": ","},
        {
            "1,234": 1234,
            "-12,345,678": -12345678,
            "1,23": None,
            ",123": None,
            "12": 12,
            "0,123": None,
            "012,345": None,
            "007": 7,
        },
    ),
    ({"type": "bigint", "thousands": " "}, {"1 234": 1234, " 1": None, "1 ": None, "1  234": None}),
    (
        {"type": "boolean", "true_values": ["yes", 1], "false_values": ["no", 0]},
        {"yes": True, "1": True, "TRUE": True, "Yes": None, "no": False, "0": False, "": None},
    ),
    ({"type": "int", "null_values": ["n/a", -1]}, {"n/a": None, "-1": None, "1": 1}),
    (
        {"type": "date", "pattern": "dd/MM/yyyy"},
        {
            "31/12/2024": date(2024, 12, 31),
            "12/31/2024": None,
            "2024-12-31": None,
            "1/1/2024": None,
            "29/02/2023": None,
        },
    ),
    (
        {"type": "date", "pattern": ["d.M.yyyy", "yyyy-MM-dd"]},
        {"1.2.2024": date(2024, 2, 1), "2024-02-01": date(2024, 2, 1), "1/2/2024": None, "1.2.0000": None},
    ),
    (
        {"type": "timestamp", "pattern": "dd/MM/yyyy HH:mm"},
        {"31/12/2024 23:59": datetime(2024, 12, 31, 23, 59, tzinfo=UTC), "31/12/2024": None, "31/12/2024 24:00": None},
    ),
    (
        {"type": "timestamp", "unit": "milliseconds"},
        {"1706688960000": datetime(2024, 1, 31, 8, 16, tzinfo=UTC), "2024-01-31": None, "1.7e12": None},
    ),
    ({"type": "binary", "encoding": "hex"}, {"00fF": b"\x00\xff", "0": None, "0x00": None, "": b""}),
    ({"type": "binary"}, {"ä": "ä".encode()}),
    (
        {"type": "decimal(10,2)", "exact": True},
        {"1.005": None, "1.500": Decimal("1.50"), "1.5": Decimal("1.50"), "15": Decimal(15), "1e2": None},
    ),
    (
        {"type": "float", "exact": True},
        {"16777217": None, "16777216": 16777216.0, "0.5": 0.5, "1e-400": None, "2.50": 2.5, "1e2": 100.0, "0": 0.0},
    ),
    ({"type": "double", "exact": True}, {"9007199254740993": None, "0.1": 0.1, "-0.10": -0.1, "1E+2": 100.0}),
    (
        {"type": "timestamp", "exact": True},
        {
            "2024-01-31 00:00:00.1234567": None,
            "2024-01-31 00:00:00.1234560Z": datetime(2024, 1, 31, 0, 0, 0, 123456, tzinfo=UTC),
        },
    ),
]


@pytest.mark.case("C", "G", "AC", "N", "O")
def test_declared_ways_of_writing(spark: "SparkSession") -> None:
    """All in one Spark job; a text that is not listed with a value is null."""
    rows = [(n, text) for n, (_, texts) in enumerate(CASES) for text in texts]
    values = []
    for n, (keys, _) in enumerate(CASES):
        column = Column(**keys)
        value = value_of(text_of(F.col("text"), column), column)
        value = F.unix_micros(value) if column.type == "timestamp" else value
        values.append(F.when(F.col("n") == n, value).alias(f"value {n}"))
    collected = spark.createDataFrame(rows, "n int, text string").select("n", "text", *values).collect()
    found = {(row["n"], row["text"]): row[f"value {row['n']}"] for row in collected}
    wanted = {(n, text): value for n, (_, texts) in enumerate(CASES) for text, value in texts.items()}
    micros = {key: (value - EPOCH) // MICROSECOND for key, value in wanted.items() if isinstance(value, datetime)}
    assert found == wanted | micros


@pytest.mark.case("N", "F4")
def test_a_reason_names_column_value_and_type(spark: "SparkSession") -> None:
    reasons = {
        ("boolean", "1"): "column 'x': '1' is not of type boolean",
        ("double", "NaN"): "column 'x': 'NaN' is not a finite number",
        ("double", "-inf"): "column 'x': '-inf' is not a finite number",
        ("double", "1e999"): "column 'x': '1e999' is not a finite number",
        ("double", "123d"): "column 'x': '123d' is not of type double",
        ("date", "x" * 100): f"column 'x': '{'x' * 80}' is not of type date",
    }
    keys = {
        ("type", "decimal(4,2)", "exact", True): ("1.005", "column 'x': '1.005' is not exactly of type decimal(4,2)"),
        ("type", "date", "pattern", "dd/MM/yyyy"): ("x", "column 'x': 'x' is not of type date (dd/MM/yyyy)"),
        ("type", "double", "decimal", ","): ("1.5", "column 'x': '1.5' is not of type double (decimal ',')"),
    }
    columns = [(Column(type=kind), text, reason) for (kind, text), reason in reasons.items()]
    columns += [(Column(**{str(k[0]): k[1], str(k[2]): k[3]}), *pair) for k, pair in keys.items()]  # type: ignore[arg-type]
    selected = []
    for n, (column, text, _) in enumerate(columns):
        selected.append(mismatch("x", column, F.lit(text), value_of(F.lit(text), column)).alias(str(n)))
    (row,) = spark.range(1).select(*selected).collect()
    assert list(row) == [reason for *_, reason in columns]
