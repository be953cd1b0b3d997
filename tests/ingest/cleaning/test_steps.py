"""Steps: nothing is computed on dropped rows, nothing is multiplied, everything is counted."""

import contextlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from ingest.cleaning.flow import Flow
from ingest.cleaning.steps import apply_steps, find_not_unique
from ingest.errors import ExpressionFailed, ExpressionInvalid, RowsMultiplied
from ingest.spark.errors import mapped_actions
from millrace.config.sections.ingest import Ingest
from millrace.errors import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark

THINGS = "VALUES (1, 'a', 2, 'x'), (2, 'b', 0, 'y'), (3, 'a', 4, NULL), (4, 'z', 5, 'x') AS t(id, kind, size, tag)"
KINDS = "VALUES ('a', 'first', 10), ('b', 'second', 20), (NULL, 'none', 30) AS k(kind, title, size)"
DOUBLE_KINDS = "VALUES ('a', 'first'), ('a', 'again'), ('b', 'second') AS k(kind, title)"


def source(spark: "SparkSession", values: str) -> "DataFrame":
    return spark.sql(f"SELECT * FROM {values}")  # noqa: S608 - the tests' own constants


def apply(ingest: Ingest, sources: Mapping[str, "DataFrame"], stack: contextlib.ExitStack) -> Flow:
    return apply_steps(ingest, sources, find_not_unique(ingest, sources), stack)


def run(spark: "SparkSession", stack: contextlib.ExitStack, *steps: dict[str, Any], other: str = KINDS) -> Flow:
    ingest = Ingest(base="things", key=("id",), steps=steps)
    return apply(ingest, {"things": source(spark, THINGS), "kinds": source(spark, other)}, stack)


def rows(flow: Flow, *columns: str) -> list[tuple[Any, ...]]:
    with mapped_actions("the test"):
        return sorted(tuple(row) for row in flow.kept.select(*columns).collect())


def join(how: str = "left", **more: Any) -> dict[str, Any]:
    return {"join": {"source": "kinds", "on": {"kind": "kind"}, "columns": {"title": "title"}, "how": how, **more}}


def test_left_join_keeps_rows_without_a_match(spark: "SparkSession", stack: contextlib.ExitStack) -> None:
    flow = run(spark, stack, join(columns={"title": "title", "other_size": "size"}))
    assert flow.columns == ["id", "kind", "size", "tag", "title", "other_size"]
    assert rows(flow, "id", "size", "title", "other_size") == [
        (1, 2, "first", 10), (2, 0, "second", 20), (3, 4, "first", 10), (4, 5, None, None),
    ]  # fmt: skip


def test_inner_join_counts_what_it_drops(spark: "SparkSession", stack: contextlib.ExitStack) -> None:
    flow = run(spark, stack, join("inner")).settle(stack)
    assert flow.filtered == {"join:kinds": 1}
    assert [row[0] for row in rows(flow, "id")] == [1, 2, 3]


def test_null_matches_no_null(spark: "SparkSession", stack: contextlib.ExitStack) -> None:
    flow = run(spark, stack, join(on={"tag": "kind"}))
    assert rows(flow, "title")[0] == (None,) or all(row == (None,) for row in rows(flow, "title"))
    assert len(rows(flow, "title")) == 4


def test_a_join_that_multiplies_is_refused(spark: "SparkSession", stack: contextlib.ExitStack) -> None:
    with pytest.raises(RowsMultiplied, match=r"join kinds: 4 rows would become 6: its key \(kind\) is not unique"):
        run(spark, stack, join(), other=DOUBLE_KINDS)


def test_double_keys_that_nothing_meets_do_no_harm(spark: "SparkSession", stack: contextlib.ExitStack) -> None:
    keep = {"filter": {"name": "no-a", "keep": "kind <> 'a'"}}
    flow = run(spark, stack, keep, join(), other=DOUBLE_KINDS)
    assert rows(flow, "id", "title") == [(2, "second"), (4, None)]
    assert flow.settle(stack).filtered == {"no-a": 2}


def test_doubles_are_found_for_each_join(spark: "SparkSession") -> None:
    steps = [join(), join(on={"tag": "title"}, columns={"t2": "title"})]
    ingest = Ingest.model_validate({"base": "things", "key": ["id"], "steps": steps})
    found = find_not_unique(ingest, {"things": source(spark, THINGS), "kinds": source(spark, DOUBLE_KINDS)})
    assert found == {"kinds on kind"}


def test_a_join_of_a_number_with_a_string(spark: "SparkSession", stack: contextlib.ExitStack) -> None:
    with pytest.raises(ExpressionInvalid, match=r"steps\.0\.join\.on: id \(int\) = kind \(string\): the types differ"):
        run(spark, stack, join(on={"id": "kind"}))


def test_filters_are_counted_by_the_first_that_dropped(spark: "SparkSession", stack: contextlib.ExitStack) -> None:
    flow = run(
        spark,
        stack,
        {"filter": {"name": "tagged", "keep": "tag <> 'y'"}},
        {"filter": {"name": "small", "keep": "size < 4"}},
        {"filter": {"name": "none", "keep": "true"}},
    ).settle(stack)
    # The third row has no tag: a condition that is null drops it, by the first filter.
    assert flow.filtered == {"tagged": 2, "small": 1, "none": 0}
    assert rows(flow, "id") == [(1,)]


def test_nothing_is_computed_on_dropped_rows(spark: "SparkSession", stack: contextlib.ExitStack) -> None:
    flow = run(
        spark,
        stack,
        {"filter": {"name": "zero", "keep": "size <> 0"}},
        {"derive": {"inverse": "12 div size", "more": "inverse + 1 -- a comment"}},
        {"filter": {"name": "big", "keep": "12 div size < 6"}},
        {"drop": ["tag"]},
    )
    assert "tag" not in flow.columns
    assert rows(flow, "id", "inverse", "more") == [(3, 3, 4), (4, 2, 3)]
    assert flow.settle(stack).filtered == {"zero": 1, "big": 1}


def test_windows_see_kept_rows_only(spark: "SparkSession", stack: contextlib.ExitStack) -> None:
    flow = run(
        spark,
        stack,
        {"filter": {"name": "small", "keep": "size < 4"}},
        {"derive": {"of_kind": "count(*) over (partition by kind)"}},
    )
    assert rows(flow, "id", "of_kind") == [(1, 1), (2, 1)]
    assert flow.filtered == {"small": 2}


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("size +", "at or near end of input"),
        ("nope(size)", "nope"),
        ("sum(size)", "derive.x"),
        ("make_date(kind)", "make_date"),
        ("rand() < 2", "another value each time"),
        ("explode(array(1, 2))", "derive.x"),
    ],
)
def test_an_expression_that_is_none(
    spark: "SparkSession", stack: contextlib.ExitStack, expression: str, message: str
) -> None:
    with pytest.raises(ExpressionInvalid, match=message) as caught:
        run(spark, stack, {"derive": {"x": expression}})
    text = str(caught.value)
    assert text.startswith(f"ingest.steps.0.derive.x: {expression}: ")
    assert "\n" not in text
    assert len(text) < 700


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("12 div size", "DIVIDE_BY_ZERO.* in: 12 div size"),
        ("cast(kind as int)", r"CAST_INVALID_INPUT.* in: cast\(kind as int\)"),
        ("size + 2147483647", "ARITHMETIC_OVERFLOW.* in: size \\+ 2147483647"),
        ("element_at(array(1), size + 1)", "INVALID_ARRAY_INDEX"),
        ("make_date(2024, 13, size)", "DATETIME_FIELD_OUT_OF_BOUNDS"),
    ],
)
def test_an_expression_that_fails_on_a_row(
    spark: "SparkSession", stack: contextlib.ExitStack, expression: str, message: str
) -> None:
    with pytest.raises(ExpressionFailed, match=message) as caught:
        rows(run(spark, stack, {"derive": {"x": expression}}), "x")
    assert "try_cast" in caught.value.hint
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_filter_that_is_no_condition(spark: "SparkSession", stack: contextlib.ExitStack) -> None:
    with pytest.raises(ExpressionInvalid, match=r"filter\.keep: size \+ 1: expected a condition, found a value of int"):
        run(spark, stack, {"filter": {"name": "odd", "keep": "size + 1"}})


UPDATES = """VALUES (1, 'a', 10, '2024-01-01'), (1, 'b', 30, '2024-01-03'), (1, 'c', 20, '2024-01-02'),
    (2, 'd', 1, NULL), (2, 'e', 2, '2024-01-01'), (NULL, 'f', 3, NULL), (NULL, 'g', 3, NULL),
    (3, 'h', 4, NULL), (3, 'h', 4, NULL) AS t(id, kind, size, at)"""


def steps_on(spark: "SparkSession", stack: contextlib.ExitStack, *steps: dict[str, Any], **more: Any) -> Flow:
    ingest = Ingest.model_validate({"base": "things", "key": ["id"], "steps": steps, **more})
    return apply(ingest, {"things": source(spark, UPDATES)}, stack)


@pytest.mark.parametrize(
    ("step", "kinds"),
    [
        ({"keep": "newest", "order": "at"}, "befgh"),
        ({"keep": "first", "order": "at"}, "aefgh"),
        ({"keep": "newest", "order": "size"}, "befgh"),
    ],
)
def test_one_row_of_several(
    spark: "SparkSession", stack: contextlib.ExitStack, step: dict[str, Any], kinds: str
) -> None:
    flow = steps_on(spark, stack, {"dedupe": {"by": ["id"], **step}}).settle(stack)
    assert [row[0] for row in rows(flow, "kind")] == list(kinds)
    assert flow.filtered == {"dedupe": 4}


def test_without_an_order_every_run_keeps_the_same(spark: "SparkSession", stack: contextlib.ExitStack) -> None:
    step = {"dedupe": {"by": ["id"], "name": "copies"}}
    first = steps_on(spark, stack, step)
    frame = spark.sql(f"SELECT * FROM {UPDATES}").orderBy("kind", ascending=False).repartition(3)  # noqa: S608
    ingest = Ingest.model_validate({"base": "things", "key": ["id"], "steps": [step]})
    assert rows(first, "kind") == rows(apply(ingest, {"things": frame}, stack), "kind")
    assert len(rows(first, "kind")) == 5


def test_one_row_for_each_group(spark: "SparkSession", stack: contextlib.ExitStack) -> None:
    keep = {"filter": {"name": "known", "keep": "id is not null"}}
    columns = {"n": "count(*)", "total": "sum(size)", "ratio": "sum(size) / cast(0 as double)"}
    with pytest.raises(ExpressionFailed, match=r"ingest\.steps\.1\.aggregate: .*DIVIDE_BY_ZERO"):
        steps_on(spark, stack, keep, {"aggregate": {"by": ["id"], "columns": columns}})
    columns["ratio"] = "max(double('NaN'))"
    flow = steps_on(spark, stack, keep, {"aggregate": {"by": ["id"], "columns": columns}}).settle(stack)
    assert flow.columns == ["id", "n", "total", "ratio"]
    assert rows(flow, "id", "n", "total", "ratio") == [(1, 3, 60, None), (2, 2, 3, None), (3, 2, 8, None)]
    assert (flow.filtered, flow.not_finite) == ({"known": 2, "aggregate": 4}, {"ratio": 3})


def test_columns_change_places(spark: "SparkSession", stack: contextlib.ExitStack) -> None:
    flow = steps_on(spark, stack, {"rename": {"kind": "at", "at": "kind", "weight": "size"}})
    assert flow.columns == ["id", "at", "weight", "kind"]
    assert flow.kept.where("id = 1 and at = 'a' and weight = 10 and kind = '2024-01-01'").count() == 1


@pytest.mark.parametrize("of_type", ["timestamp", "timestamp_ntz"])
def test_rows_that_differ_by_a_microsecond_are_no_copies(
    spark: "SparkSession", stack: contextlib.ExitStack, of_type: str
) -> None:
    moments = f"VALUES ({of_type}'2024-01-01 00:00:00.123001'), ({of_type}'2024-01-01 00:00:00.123002') AS t(at)"
    ingest = Ingest.model_validate({"base": "things", "key": "row", "duplicates": "drop"})
    flow = apply(ingest, {"things": source(spark, moments)}, stack).settle(stack)
    assert (flow.filtered, flow.kept.select("row_key").distinct().count()) == ({"duplicates": 0}, 2)


@pytest.mark.parametrize(("rule", "kept"), [("keep", 9), ("drop", 8)])
def test_rows_without_a_key(spark: "SparkSession", stack: contextlib.ExitStack, rule: str, kept: int) -> None:
    flow = steps_on(spark, stack, key="row", duplicates=rule).settle(stack)
    keys = [row[0] for row in rows(flow, "row_key")]
    assert (len(keys), len(set(keys))) == (kept, kept)
    assert all(re.fullmatch(r"[0-9a-f]{32}(-2)?", key) for key in keys)
    assert sum(key.endswith("-2") for key in keys) == kept - 8
    assert flow.filtered == ({} if rule == "keep" else {"duplicates": 1})


@pytest.mark.parametrize(("mine", "theirs"), [("bigint", "double"), ("decimal(38,2)", "decimal(38,20)")])
def test_numbers_that_spark_would_round_are_not_joined(
    spark: "SparkSession", stack: contextlib.ExitStack, mine: str, theirs: str
) -> None:
    """Else unequal numbers match, and a key that is unique in its own type matches twice."""
    other = f"VALUES (cast(1 as {theirs}), 'x') AS k(kind, title)"
    steps = {"derive": {"wide": f"cast(id as {mine})"}}, join(on={"wide": "kind"})
    with pytest.raises(ExpressionInvalid, match=r"steps\.1\.join\.on: wide .* = kind .*: the types differ"):
        run(spark, stack, *steps, other=other)


@pytest.mark.parametrize(
    ("step", "where"),
    [
        ({"dedupe": {"by": ["id"], "order": "place"}}, r"ingest\.steps\.1\.dedupe: id, place: "),
        ({"dedupe": {"by": ["place"]}}, r"ingest\.steps\.1\.dedupe: place: "),
        (
            {"join": {"source": "kinds", "on": {"place": "kind"}, "columns": {"title": "title"}}},
            r"ingest\.steps\.1\.join",
        ),
    ],
    ids=["order", "by", "join"],
)
def test_columns_that_cannot_be_compared(
    spark: "SparkSession", stack: contextlib.ExitStack, step: dict[str, Any], where: str
) -> None:
    with pytest.raises(ConfigError, match=where):
        run(spark, stack, {"derive": {"place": "map(kind, id)"}}, step)
