"""Upsert: the table has the newest row of each key, however the rows were delivered."""

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from ingest.errors import CommitLost, KeyBroken
from millrace.errors import ConfigError
from millrace.failpoints import ENVIRONMENT, FailpointFired
from millrace.storage import Store
from millrace.tables.versions import find_table
from tests.ingest.small import csv, rows_of
from tests.ingest.table.growing import Growing

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
HEADER = "id,name,changed"
COLUMNS = {"id": "bigint", "name": "string", "changed": "int"}


@pytest.fixture
def orders(tmp_path: Path, spark: "SparkSession", store: Store) -> Growing:
    growing = Growing(tmp_path, spark, store)
    growing.small.sources["things"]["columns"] = COLUMNS
    growing.small.ingest["upsert"] = {"order": "changed"}
    growing.small.features = {"label": "id", "inputs": {"name": {"as": "category"}}}
    return growing


def table(store: Store) -> dict[int, tuple[str, int | None]]:
    rows = rows_of(store, "clean")
    found = {row["id"]: (row["name"], row["changed"]) for row in rows}
    assert len(found) == len(rows)
    return found


def test_a_corrected_row_replaces_the_old_one(orders: Growing) -> None:
    orders.put("1.csv", csv(HEADER, *(f"{n},old,1" for n in range(100))))
    first = orders.run()
    assert (first.rows_out, first.details["rows_total"], first.details["replaced"]) == (100, 100, 0)
    orders.put("2.csv", csv(HEADER, "7,new,2", "8,older,0", "9,old,1", "100,added,1", "100,twice,2", "11,no time,"))
    second = orders.run()
    assert (second.version, second.rows_in, second.rows_out, second.filters["upsert"]) == (1, 6, 2, 4)
    assert (second.details["replaced"], second.details["rows_total"]) == (1, 101)
    assert sum(second.details["splits"].values()) == 2  # type: ignore[attr-defined]
    expected: dict[int, tuple[str, int | None]] = {n: ("old", 1) for n in range(100)}
    assert table(orders.store) == expected | {7: ("new", 2), 100: ("twice", 2)}
    assert find_table(orders.store, "small", "clean", 0).rows_of() == 100
    assert orders.run().outcome == "already_committed"


def test_rows_that_the_table_has_already(orders: Growing) -> None:
    """A delivery under another name with one line more at its end, which is blank."""
    lines = csv(HEADER, *(f"{n},old,1" for n in range(10)))
    orders.put("1.csv", lines)
    version = orders.run().version
    before = find_table(orders.store, "small", "clean", version).files
    orders.put("2.csv", lines + b"\n")
    again = orders.run()
    assert (again.outcome, again.rows_in, again.rows_out, again.rejected) == ("committed", 11, 0, 1)
    assert (again.filters, again.details["rows_total"]) == ({"upsert": 10}, 10)
    assert [file.path for file in find_table(orders.store, "small", "clean").files] == [file.path for file in before]


def test_the_table_does_not_depend_on_the_deliveries(orders: Growing, tmp_path: Path) -> None:
    """Forty keys in 200 rows with ties and nulls; in two runs, later rows first, and in one; compared with pandas."""
    chance = random.Random(5)
    rows = [(chance.randrange(40), f"n{chance.randrange(9)}", chance.choice([None, 1, 2, 3])) for _ in range(200)]
    parts = [rows[:100], rows[100:]]
    tables = []
    for order in (parts[::-1], [rows]):
        store = Store(str(tmp_path / f"store{len(tables)}"))
        growing = Growing(tmp_path / f"home{len(tables)}", orders.spark, store)
        growing.small.sources["things"]["columns"] = COLUMNS
        growing.small.ingest["upsert"] = {"order": "changed"}
        growing.small.features = orders.small.features
        for number, part in enumerate(order):
            lines = (f"{n},{name},{'' if changed is None else changed}" for n, name, changed in part)
            growing.put(f"{number}.csv", csv(HEADER, *lines))
            record = growing.run()
            assert record.details["rows_total"] == find_table(store, "small", "clean").rows_of()
        tables.append(table(store))
    assert tables[0] == tables[1]
    frame = pd.DataFrame(rows, columns=["id", "name", "changed"]).fillna({"changed": -1})
    newest = frame.groupby("id")["changed"].max()
    assert {n: -1 if value[1] is None else value[1] for n, value in tables[0].items()} == newest.to_dict()


def test_killed_before_the_commit(orders: Growing, monkeypatch: pytest.MonkeyPatch) -> None:
    orders.put("1.csv", csv(HEADER, *(f"{n},old,1" for n in range(10))))
    orders.run()
    files = sorted(path.name for path in Path(orders.store.uri("tables", "small", "clean")).rglob("*.parquet"))
    orders.put("2.csv", csv(HEADER, "3,new,2", "30,new,2"))
    monkeypatch.setenv(ENVIRONMENT, "ingest.before_commit=raise")
    with pytest.raises(FailpointFired):
        orders.run()
    assert sorted(p.name for p in Path(orders.store.uri("tables", "small", "clean")).rglob("*.parquet")) == files
    assert table(orders.store)[3] == ("old", 1)
    monkeypatch.undo()
    record = orders.run()
    assert (record.version, record.rows_out, record.details["replaced"]) == (1, 2, 1)
    assert (len(table(orders.store)), table(orders.store)[3]) == (11, ("new", 2))


def test_another_program_writes_meanwhile(orders: Growing, monkeypatch: pytest.MonkeyPatch) -> None:
    orders.put("1.csv", csv(HEADER, *(f"{n},old,1" for n in range(10))))
    orders.run()
    orders.put("2.csv", csv(HEADER, "3,new,2"))
    uri = orders.store.uri("tables", "small", "clean")

    def add_rows(point: str) -> None:
        if point == "ingest.before_commit":
            row = orders.spark.sql("SELECT 50L AS id, 'foreign' AS name, 1 AS changed, 'train' AS split")
            row.write.format("delta").mode("append").save(uri)

    monkeypatch.setattr("ingest.stage.fail_here", add_rows)
    with pytest.raises(CommitLost):
        orders.run()
    assert (len(table(orders.store)), table(orders.store)[3]) == (11, ("old", 1))


def test_without_upsert_it_is_an_error(orders: Growing) -> None:
    orders.small.ingest.pop("upsert")
    orders.put("1.csv", csv(HEADER, "1,old,1"))
    orders.run()
    orders.put("2.csv", csv(HEADER, "1,new,2"))
    with pytest.raises(KeyBroken) as broken:
        orders.run()
    assert "upsert" in broken.value.hint
    orders.small.ingest["upsert"] = {"order": "changed"}
    record: Any = orders.run(full=True)
    assert (record.rows_in, record.rows_out, record.filters) == (2, 1, {"upsert": 1})
    assert table(orders.store) == {1: ("new", 2)}


def test_files_with_newer_rows_only_stay(orders: Growing) -> None:
    orders.put("1.csv", csv(HEADER, *(f"{n},old,5" for n in range(60))))
    orders.run()
    before = {file.path for file in find_table(orders.store, "small", "clean").files}
    orders.put("2.csv", csv(HEADER, *(f"{n},older,1" for n in range(20)), "100,added,1"))
    second = orders.run()
    assert (second.rows_out, second.filters["upsert"], second.details["replaced"]) == (1, 20, 0)
    after = {file.path for file in find_table(orders.store, "small", "clean").files}
    assert before < after
    assert len(after) == len(before) + 1
    assert table(orders.store) == {n: ("old", 5) for n in range(60)} | {100: ("added", 1)}
    # One file has an older row with a key of the delivery; the others have newer ones.
    orders.put("3.csv", csv(HEADER, *(f"{n},older,1" for n in range(20)), "100,again,2"))
    third = orders.run()
    assert (third.rows_out, third.filters["upsert"], third.details["replaced"]) == (1, 20, 1)
    assert before < {file.path for file in find_table(orders.store, "small", "clean").files}
    assert table(orders.store) == {n: ("old", 5) for n in range(60)} | {100: ("again", 2)}
    assert third.details["rows_total"] == 61


def test_an_order_of_a_type_without_order(orders: Growing) -> None:
    orders.small.steps({"derive": {"place": "map(name, changed)"}})
    orders.small.ingest["upsert"] = {"order": "place"}
    orders.put("1.csv", csv(HEADER, "1,a,1"))
    with pytest.raises(ConfigError, match=r'upsert\.order: place: .*ordering on type "MAP') as caught:
        orders.run()
    assert "pyspark" not in str(caught.value)
