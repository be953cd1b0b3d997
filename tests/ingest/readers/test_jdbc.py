"""A real database, embedded in Spark's JVM: its rows are read once, its columns compared with the declared ones."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ingest.errors import ColumnsMismatch
from ingest.sources.find import find_snapshots
from millrace.errors import ConfigError
from tests.ingest.small import Small, load

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

URL = "jdbc:derby:memory:things"
COLUMNS = {"id": "bigint", "name": "string", "weight": "double"}


@pytest.fixture(scope="module")
def database(spark: "SparkSession") -> Iterator[Any]:
    assert spark._jvm is not None
    connection = spark._jvm.java.sql.DriverManager.getConnection(f"{URL};create=true")
    statement = connection.createStatement()
    statement.execute("CREATE TABLE things (id BIGINT, name VARCHAR(20), weight DOUBLE)")
    statement.execute("INSERT INTO things VALUES (1, 'one', 1.5), (2, NULL, NULL), (3, 'three', 3)")
    yield statement
    connection.close()


def small(folder: Path, **more: Any) -> Small:
    made = Small(folder).learning("name")
    made.sources["things"] = {"format": "jdbc", "columns": COLUMNS, "jdbc": {"url": URL, "table": "things", **more}}
    return made


def test_rows_and_their_digest(
    spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack, database: Any
) -> None:
    source = load(small(tmp_path), spark, stack)["things"]
    assert (source.rows, source.rejected) == (3, 0)
    assert sorted(map(tuple, source.frame.collect())) == [(1, "one", 1.5), (2, None, None), (3, "three", 3.0)]
    product = small(tmp_path).build()
    digests = []
    for number in range(3):
        if number == 2:
            database.execute("UPDATE things SET name = 'drei' WHERE id = 3")
        digests.append(find_snapshots(product, spark, str(tmp_path / f"staging{number}"))["things"].sha256)
    assert digests[0] == digests[1] == source.snapshot.sha256
    assert digests[2] != digests[0]


def test_other_columns(spark: "SparkSession", tmp_path: Path, stack: contextlib.ExitStack, database: Any) -> None:
    query = {"table": None, "query": "SELECT id, CAST(weight AS INT) AS weight FROM things"}
    message = "column 'name' is missing, expected string; column 'weight': expected double, found int"
    with pytest.raises(ColumnsMismatch, match=message):
        load(small(tmp_path, **query), spark, stack)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"table": "thing"}, "does not exist"),
        ({"url": "jdbc:nosuch://host/db"}, "found no driver for this URL"),
        ({"driver": "org.nosuch.Driver"}, "found no driver for this URL"),
        ({"password_env": "MILLRACE_NO_SUCH"}, "the environment has no MILLRACE_NO_SUCH"),
    ],
)
def test_mistakes(
    spark: "SparkSession",
    tmp_path: Path,
    stack: contextlib.ExitStack,
    database: Any,
    change: dict[str, str],
    message: str,
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(small(tmp_path, **change), spark, stack)
    assert "\n" not in str(caught.value)
