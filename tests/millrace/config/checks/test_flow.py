"""Columns are followed through every step, as Spark would make them."""

from pathlib import Path

import pytest

from millrace.config.checks.flow import UNKNOWN, ColumnFlow
from millrace.config.checks.sql import check_aggregate
from millrace.config.load import load_product
from millrace.config.yaml.document import Document
from millrace.errors import ConfigError
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
        "unix_timestamp(started) + if(city = 'now', 1, 0)",
    ],
)
def test_expressions_that_spark_takes(expression: str, tmp_path: Path) -> None:
    quoted = expression.replace("'", "''")
    assert flow_of(tmp_path, ("people / distance", f"'{quoted}'")).problems == []


@pytest.mark.case("F8")
@pytest.mark.parametrize(
    ("expression", "found", "allowed"),
    [
        ("foo(hour)", "Spark has no function 'foo'", "did you mean"),
        ("coalesc(hour, 1)", "Spark has no function 'coalesc'", "did you mean 'coalesce'?"),
        ("map(city)", "not a Spark SQL expression", "another number of arguments"),
        ("hour > count(*)", "COUNT(*) needs many rows", "use an aggregate step, or a window"),
        ("to_json(struct(*))", "* stands for columns of Millrace's own", "name the columns"),
        ("rand() + hour", "rand gives another value in each run", "use columns only"),
        ("uuid()", "uuid gives another value in each run", "a hash of the key"),
        ("monotonically_increasing_id()", "monotonically_increasing_id gives another value", ""),
        ("concat(city, current_user())", "current_user depends on who runs the job", "write the value itself"),
        ("concat(city, current_user)", "current_user depends on who runs the job", "write the value itself"),
        ("concat(city, user())", "user depends on who runs the job", "write the value itself"),
        ("datediff(current_date, started)", "current_date gives another value in each run", ""),
        ("year(current_timestamp())", "current_timestamp gives another value in each run", ""),
        ("unix_timestamp() - hour", "unix_timestamp gives another value in each run", ""),
        ("datediff(date'today', started)", "today gives another value in each run", ""),
        ("started > cast('now' as timestamp)", "now gives another value in each run", ""),
        ("hour +", "not a Spark SQL expression", "a value is missing behind +, at the end"),
        ("hour = = 3", "not a Spark SQL expression", "a value is missing behind =, column 8"),
        (
            "(hour",
            "not a Spark SQL expression",
            "a closing bracket is missing; within { } an expression with a comma must be in quotes",
        ),
        ("case when hour then 1", "not a Spark SQL expression", "expected END after CASE, column 21"),
        ("hour minutes seconds", "not a Spark SQL expression", "syntax error near 'seconds', column 14"),
        ("hour > 1 and\n  people people people", "not a Spark SQL", "syntax error near 'people', line 2, column"),
        ("'abc", "not a Spark SQL expression", "a quote or a bracket is not closed"),
    ],
)
def test_expressions_that_spark_does_not_take(expression: str, found: str, allowed: str, tmp_path: Path) -> None:
    quoted = expression.replace("'", "''").replace("\n", "\n\n          ")
    with pytest.raises(ConfigError) as caught:
        flow_of(tmp_path, ("people / distance", f"'{quoted}'"))
    (problem,) = caught.value.problems
    assert found in problem.found
    assert allowed in problem.allowed


@pytest.mark.parametrize(
    "expression",
    [
        "any(late)",
        "some(late)",
        "bool_or(late)",
        "sort_array(collect_list(hour) filter (where hour > 1))",
        "array_max(collect_list(hour))",
        "size(collect_set(hour))",
        "mode(hour, true)",
    ],
)
def test_aggregates_that_do_not_depend_on_the_order(expression: str) -> None:
    assert check_aggregate(expression) is None


def test_a_field_of_a_derived_structure(tmp_path: Path) -> None:
    flow = flow_of(tmp_path, (DROP, "derive: {point: 'struct(hour as x)', x2: point.x * 2}"))
    assert flow.origins["x2"] == {"x2", "point", "hour"}


def test_steps_that_change_the_columns(tmp_path: Path) -> None:
    steps = (
        "rename: {km: distance, distance: paid}",
        "dedupe: {by: [city, started], keep: newest, order: hour}",
        "aggregate: {by: [city, hour, started, people, late], columns: {distance: max(km), per_km: max(per_km)}}",
    )
    flow = flow_of(tmp_path, (DROP, "\n    - ".join(steps)), ("banned: [paid]", "banned: []"))
    assert list(flow.columns) == ["city", "hour", "started", "people", "late", "distance", "per_km"]
    assert flow.origins["distance"] >= {"km", "distance"}


@pytest.mark.parametrize(
    ("step", "key", "found", "allowed"),
    [
        ("rename: {km: distanze}", "rename.km", "unknown column 'distanze'", "did you mean 'distance'?"),
        ("rename: {km: distance, miles: distance}", "rename.km", "column 'distance' gets more than one name", "a copy"),
        ("aggregate: {by: [city, city], columns: {n: count(*)}}", "aggregate.by.1", "duplicate column 'city'", "once"),
        ("aggregate: {by: [city], columns: {n: mode(hour)}}", "aggregate.columns.n", "depends on the order", "min"),
        ("aggregate: {by: [city], columns: {n: first_value(hour)}}", "aggregate.columns.n", "depends on the order", ""),
        (
            "join: {source: cities, on: {distance: people}, columns: {found: founded}}",
            "join.on.distance",
            "'distance' is a double, 'people' of cities a bigint",
            "derive a column of the same type",
        ),
        ("rename: {city: distance}", "rename.city", "column 'city' exists already", "use another name"),
        ("dedupe: {by: [citty]}", "dedupe.by.0", "unknown column 'citty'", "did you mean 'city'?"),
        ("dedupe: {by: [city], order: ours}", "dedupe.order", "unknown column 'ours'", "did you mean 'hour'?"),
        ("aggregate: {by: [citty], columns: {n: count(*)}}", "aggregate.by.0", "unknown column 'citty'", "'city'?"),
        ("aggregate: {by: [city], columns: {n: hour}}", "aggregate.columns.n", "no aggregate function", "sum(x)"),
        ("aggregate: {by: [city], columns: {n: sum(our)}}", "aggregate.columns.n", "unknown column 'our'", "'hour'?"),
        ("aggregate: {by: [city], columns: {n: first(hour)}}", "aggregate.columns.n", "depends on the order", "min"),
        ("aggregate: {by: [city], columns: {n: 'mode(hour, false)'}}", "aggregate.columns.n", "depends on the", "min"),
        (
            "dedupe: {by: [city], name: no-fare}",
            "dedupe.name",
            "'no-fare' is the name of another step, a filter",
            "use",
        ),
        (
            "aggregate: {by: [city], columns: {n: 'array_max(array(first(hour), 1))'}}",
            "aggregate.columns.n",
            "depends on the order",
            "min",
        ),
        ("dedupe: {by: [city], name: upsert}", "dedupe.name", "'upsert' is a name of Millrace's own", "another name"),
        (
            "aggregate: {by: [city], columns: {n: collect_list(hour)}}",
            "aggregate.columns.n",
            "depends on the order of rows",
            "sort_array",
        ),
    ],
)
def test_steps_that_cannot_be(step: str, key: str, found: str, allowed: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        flow_of(tmp_path, (DROP, step), ("people: int,", "people: bigint,"))
    problem = caught.value.problems[0]
    assert problem.key == f"ingest.steps.3.{key}"
    assert found in problem.found
    assert allowed in problem.allowed


@pytest.mark.parametrize(
    ("changes", "key", "found"),
    [
        (
            [("key: [city, started]", "key: [city, started]\n  upsert: {order: started}")],
            "upsert",
            "is not incremental",
        ),
        (
            [
                ("path: trips.csv", "path: '*.csv'\n    incremental: true"),
                ("key: [city, started]", "key: [city, started]\n  upsert: {order: startet}"),
            ],
            "upsert.order",
            "unknown column 'startet'",
        ),
    ],
)
def test_upserts_that_cannot_be(changes: list[tuple[str, str]], key: str, found: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        flow_of(tmp_path, *changes)
    (problem,) = caught.value.problems
    assert problem.key == f"ingest.{key}"
    assert found in problem.found
