"""Columns are followed through every step, as Spark would make them."""

from pathlib import Path

import pytest

from millrace.config.checks.flow import UNKNOWN, ColumnFlow
from millrace.config.load import load_product
from millrace.config.yaml.document import Document
from tests.millrace.products import write_product

DROP = "drop: [id]"


def flow_of(tmp_path: Path, *changes: tuple[str, str]) -> ColumnFlow:
    return ColumnFlow(load_product(write_product(tmp_path, *changes)).config, Document("trips.yaml", {}))


def test_columns_after_every_step(tmp_path: Path) -> None:
    assert flow_of(tmp_path).columns == {
        "started": "timestamp",
        "city": "string",
        "distance": "double",
        "paid": "double",
        "hour": "int",
        "people": "int",
        "founded": "date",
        "late": UNKNOWN,
        "per_km": UNKNOWN,
    }


def test_what_a_column_was_made_from(tmp_path: Path) -> None:
    origins = flow_of(tmp_path, (DROP, "derive: {again: per_km + late, late: late + 1}")).origins
    assert origins["late"] == {"late", "hour"}
    assert origins["again"] == {"again", "per_km", "people", "distance", "late", "hour"}


def test_a_function_adds_and_drops_what_it_declares(tmp_path: Path) -> None:
    call = "call: {function: 'train.models.tabular:build', adds: {speed: double}, drops: [id]}"
    columns = flow_of(tmp_path, (DROP, call)).columns
    assert columns["speed"] == "double"
    assert "id" not in columns


@pytest.mark.parametrize(
    "expression",
    [
        "date_add(started, 1) > founded",
        "date_trunc('HOUR', started)",
        "extract(day from started)",
        "timestampdiff(MINUTE, started, founded)",
        "dateadd(DAY, 1, started)",
        "started + interval 1 day",
        "date'2013-01-01'",
        "current_date",
        "trim(BOTH 'x' FROM city)",
        "position('a' in city)",
        'case when HOUR > 3 then "people" else `city` end',
        "hour div 2 + hour % 2",
        "city <=> 'x' or city rlike '^a' or city like 'a%'",
        "split(city, ',')[0]",
        "named_struct('a', hour).a",
        "aggregate(array(1, 2), 0, (acc, x) -> acc + x) + hour",
        "row_number() over (partition by city order by started desc)",
        "cast(hour as decimal(10, 2))",
        "hour::double",
        "city in ('a', 'b') and hour between 1 and 3",
        "try_cast(city as int) -- what it says",
        "made_by_a_later_spark(hour)",
    ],
)
def test_expressions_that_spark_takes(expression: str, tmp_path: Path) -> None:
    quoted = expression.replace("'", "''")
    assert flow_of(tmp_path, ("people / distance", f"'{quoted}'")).problems == []


def test_a_field_of_a_derived_structure(tmp_path: Path) -> None:
    flow = flow_of(tmp_path, (DROP, "derive: {point: 'struct(hour as x)', x2: point.x * 2}"))
    assert flow.origins["x2"] == {"x2", "point", "hour"}
