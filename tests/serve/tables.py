"""Clean tables for the tests of scoring, written by Spark as ingest writes them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millrace.storage import Store
from millrace.tables.versions import CLEAN, table_parts

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DDL = (
    "id bigint, amount float, weight double, count int, code bigint, flag boolean, maybe boolean, seen timestamp, "
    "city string, note string, split string"
)


def make_rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Rows of every dtype, with nulls in every column that may have them."""
    start = datetime(2013, 1, 1, tzinfo=UTC)
    return [
        {
            "id": n,
            "amount": n % 97 / 10,
            "weight": None if n % 5 == 0 else n / 7,
            "count": n % 1000,
            "code": None if n % 7 == 0 else n % 13,
            "flag": n % 2 == 0,
            "maybe": None if n % 3 == 0 else n % 4 == 0,
            "seen": None if n % 11 == 0 else start + timedelta(minutes=n),
            "city": ("Oslo", "Rome", "Nowhere")[n % 3],
            "note": None if n % 6 == 0 else f"note {n % 9}",
            "split": ("train", "train", "validation", "test")[n % 4],
        }
        for n in range(first, first + count)
    ]


def write_clean(spark: "SparkSession", store: Store, product: str, rows: list[dict[str, Any]], ddl: str = DDL) -> None:
    """Append rows to a product's clean table."""
    frame = spark.createDataFrame(rows, ddl)  # type: ignore[type-var] # plain dictionaries
    path = Path(store.uri(*table_parts(product, CLEAN)))
    writer = frame.write.format("delta").mode("append").partitionBy("split")
    writer.option("userMetadata", '{"contract_sha256": "0"}').save(str(path))
