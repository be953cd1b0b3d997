"""The stage as a whole: every row accounted for, one version or none, the same again after a crash."""

import hashlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ingest import build, stage
from ingest.changes import find_done
from ingest.checks.failures import ContractFailed
from ingest.errors import ExpressionFailed, SourceEmpty, TooManyFiltered
from ingest.table import arrange
from millrace.config import Product
from millrace.digests import digest_of, sha256_of
from millrace.errors import ArtifactNotFound, InputMissing, StorageError
from millrace.failpoints import ENVIRONMENT, FailpointFired
from millrace.runs import RunRecord
from millrace.storage import Store
from millrace.tables.validation import check_validated
from millrace.tables.versions import find_table
from pipelines.hadoop.cluster import Cluster
from pipelines.jobs.exits import exit_code
from tests.ingest.small import HEADER, NOT_NULL_ID, Small, csv, rows_of, things, zipped

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

KINDS = csv("kind,title,rank", "0,none,NA", "1,one,10", "2,two,twenty", "3,three,30", "4,four,40")
STEPS: list[dict[str, Any]] = [
    {"filter": {"name": "sized", "keep": "size is not null"}},
    {
        "join": {
            "source": "kinds",
            "on": {"size": "kind"},
            "columns": {"title": "title", "rank": "rank"},
            "how": "inner",
        }
    },
    {"call": {"function": "tests.ingest.functions:shout", "adds": {"loud": "string"}, "drops": ["name"]}},
    {"derive": {"share": "weight / rank"}},
    {"drop": ["title"]},
]


def full(folder: Path) -> Small:
    """A zip of two files with bad lines, a join, a filter, a function."""
    first = csv(HEADER, "1,one,1,1.5", "2,two,3,1", "x,bad,1,1", "", "4,four,NA,1")
    second = csv(HEADER, "5,five,2,1", "6,six,4,1e999", "7,seven,4,8", "8,eight,3,")
    small = Small(folder).source(
        zipped(folder / "made", a_csv=first, b_csv=second), file="things.zip", options={"nullValue": "NA"}
    )
    columns = {"kind": "int", "title": "string", "rank": "int"}
    small.source(KINDS, name="kinds", file="kinds.csv", columns=columns, options={"nullValue": "NA"})
    small.ingest["max_rejected"] = 0.5
    return small.steps(*STEPS)


def run(product: Product, spark: "SparkSession", store: Store, run_id: str = "run1") -> RunRecord:
    return stage.run(product, spark, store, run_id)


def content(store: Store, table: str = "clean", but: tuple[str, ...] = ()) -> str:
    """A digest of a table's rows, whatever their order."""
    rows = [{k: v for k, v in row.items() if k not in but} for row in rows_of(store, table)]
    return hashlib.sha256(
        "".join(sorted(json.dumps(r, sort_keys=True, default=str) for r in rows)).encode()
    ).hexdigest()


def assert_no_table(store: Store) -> None:
    """No version, and no file that a later one could hold."""
    assert not store.exists("tables", "small", "clean", "_delta_log")
    assert not list(Path(store.root).rglob("*.parquet"))


def test_from_sources_to_a_version(
    spark: "SparkSession", tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    product = full(tmp_path).build()
    record = run(product, spark, store)

    assert (record.outcome, record.version, record.stage, record.product) == ("committed", 0, "ingest", "small")
    assert (record.rows_in, record.rows_out, record.rejected, record.filtered) == (9, 3, 3, 3)
    # The second kind is malformed, so that one thing has no match.
    assert record.filters == {"sized": 1, "join:kinds": 1, "tests.ingest.functions:shout": 1}
    rows = sorted(rows_of(store, "clean"), key=lambda row: int(row["id"]))
    assert [(row["id"], row["loud"], row["rank"], row["share"]) for row in rows] == [
        (1, "ONE", 10, 0.15), (7, "SEVEN", 40, 0.2), (8, "EIGHT", 30, None),
    ]  # fmt: skip
    assert set(rows[0]) == {"id", "size", "weight", "rank", "loud", "share", "split"}
    reasons = sorted((Path(row["source_file"]).name, row["reason"]) for row in rows_of(store, "rejects"))
    assert reasons == [
        ("kinds.csv", "column 'rank': 'twenty' is not of type int"),
        ("things.zip!a.csv", "blank line"),
        ("things.zip!a.csv", "column 'id': 'x' is not of type bigint"),
        ("things.zip!b.csv", "column 'weight': '1e999' is not a finite number"),
    ]

    commit = find_table(store, "small", "clean").commit
    assert {row["commit_key"] for row in rows_of(store, "rejects")} == {commit["commit_key"]}
    assert commit["sources"]["kinds"] == {
        "file": "kinds.csv", "sha256": sha256_of(tmp_path / "kinds.csv"), "rows": 5, "rejected": 1,
    }  # fmt: skip
    assert sum(commit["splits"].values()) == 3
    assert record.details["table_sha256"] == find_table(store, "small", "clean").digest
    assert {"contract_sha256", "code_sha256", "filters", "run_id"} <= set(commit)

    again = run(product, spark, store, "run2")
    assert again.outcome == "already_committed"
    accounts = ("version", "rows_in", "rows_out", "rejected", "filtered", "filters")
    assert [getattr(again, name) for name in accounts] == [getattr(record, name) for name in accounts]
    assert find_table(store, "small", "clean").version == 0

    assert store.names(".staging") == []
    assert list(Path(store.uri(".staging")).iterdir()) == []
    text = caplog.text
    assert "cleaned 9 rows: 3 kept, 3 filtered, 3 rejected" in text
    assert not any(value in text for value in ("SEVEN", "twenty", "eight"))


def test_a_failed_contract_leaves_the_version(spark: "SparkSession", tmp_path: Path, store: Store) -> None:
    small = Small(tmp_path).source(things(20))
    run(small.build(), spark, store)
    before = content(store)
    small.contract["expectations"] = [
        NOT_NULL_ID,
        {"expect_column_values_to_be_between": {"column": "id", "min_value": 4}},
    ]
    small.source(things(20) + csv("x,bad,1,1"))
    small.ingest["max_rejected"] = 0.5
    with pytest.raises(ContractFailed) as caught:
        run(small.build(), spark, store, "run2")
    (failure,) = caught.value.failures
    assert (failure.rule, failure.count, sorted(failure.examples)) == (
        "expect_column_values_to_be_between", 4, ["id=0", "id=1", "id=2", "id=3"],
    )  # fmt: skip
    assert find_table(store, "small", "clean").version == 0
    assert content(store) == before
    assert [row["record"] for row in rows_of(store, "rejects")] == ["x,bad,1,1"]
    counts = caught.value.counts
    assert (counts["rows_in"], counts["rows_out"], counts["rejected"], counts["filtered"]) == (21, 20, 1, 0)
    assert list(Path(store.uri(".staging")).iterdir()) == []


def test_rows_without_a_key_and_rows_that_merge(spark: "SparkSession", tmp_path: Path, store: Store) -> None:
    """What goes in is out, rejected or filtered under a name, also where rows merge."""
    small = Small(tmp_path).source(things(10) + csv("1,name 1,1,0.125", "x,bad,1,1", "3,name 3,3,0.375"))
    small.ingest |= {"key": "row", "duplicates": "drop", "max_rejected": 0.5}
    record = run(small.build(), spark, store)
    assert (record.rows_in, record.rows_out, record.rejected, record.filters) == (13, 10, 1, {"duplicates": 2})
    keys = [row["row_key"] for row in rows_of(store, "clean")]
    assert len(set(keys)) == 10
    small.ingest |= {"duplicates": "keep"}
    record = run(small.build(), spark, store, "run2")
    assert (record.rows_out, record.filters) == (12, {})
    kept = {row["row_key"] for row in rows_of(store, "clean")}
    assert kept > set(keys)
    assert {key.removesuffix("-2") for key in kept} == set(keys)
    small.steps({"aggregate": {"by": ["size"], "columns": {"id": "count(*)", "weight": "max(weight)"}}})
    record = run(small.build(), spark, store, "run3")
    assert (record.rows_out, record.filtered, record.filters) == (7, 5, {"aggregate": 5})
    assert sum(row["id"] for row in rows_of(store, "clean")) == 12


@pytest.mark.case("F8")
def test_a_run_that_would_change_nothing_is_known_without_spark(
    spark: "SparkSession", tmp_path: Path, store: Store
) -> None:
    small = Small(tmp_path).source(things(20))
    assert find_done(small.build(), store, "run0") is None
    run(small.build(), spark, store)
    record = find_done(small.build(), store, "run1")
    assert record is not None
    assert (record.run_id, record.outcome, record.version, record.rows_out) == ("run1", "already_committed", 0, 20)
    assert record == run(small.build(), spark, store, "run1").model_copy(update={"seconds": record.seconds})
    small.ingest["max_filtered"] = 0.4
    assert find_done(small.build(), store, "run2") is None
    del small.ingest["max_filtered"]
    small.source(things(21))
    assert find_done(small.build(), store, "run2") is None


def test_no_rows_make_a_version_only_when_asked(spark: "SparkSession", tmp_path: Path, store: Store) -> None:
    product = Small(tmp_path).source(csv(HEADER)).build()
    with pytest.raises(SourceEmpty):
        run(product, spark, store)
    record = stage.run(product, spark, store, "run1", allow_empty=True)
    assert (record.version, record.rows_in, record.rows_out, record.details["empty"]) == (0, 0, 0, True)
    (tmp_path / "things.csv").unlink()
    with pytest.raises(InputMissing):
        run(product, spark, store)
    assert stage.run(product, spark, store, "run2", allow_empty=True).version == 1
    assert rows_of(store, "clean") == []


def test_an_expression_that_fails_on_a_row_changes_nothing(spark: "SparkSession", tmp_path: Path, store: Store) -> None:
    small = Small(tmp_path).source(things(20)).steps({"derive": {"inverse": "10 div size"}})
    with pytest.raises(ExpressionFailed, match=r"the steps: \[DIVIDE_BY_ZERO\]"):
        run(small.build(), spark, store)
    assert_no_table(store)


def test_what_is_not_finite_or_not_there_is_null_and_recorded(
    spark: "SparkSession", tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    columns = {"root": "sqrt(id - 4)", "mean": "avg(root) over ()", "later": "cast(null as string)"}
    small = Small(tmp_path).source(things(20)).steps({"derive": columns}, {"drop": ["weight"]})
    record = run(small.build(), spark, store)
    assert record.details["not_finite"] == {"root": 4}
    assert record.details["empty_columns"] == ["later"]
    assert "column 'root': 4 values were NaN or infinite and became null" in caplog.text
    rows = sorted(rows_of(store, "clean"), key=lambda row: int(row["id"]))
    assert [row["root"] for row in rows[3:6]] == [None, 0.0, 1.0]
    assert [row["mean"] for row in rows] == [pytest.approx(sum(n**0.5 for n in range(16)) / 16)] * 20
    assert set(rows[0]) == {"id", "name", "size", "root", "mean", "later", "split"}
    # A column that the contract names, or the label, must have values.
    small.contract["expectations"] = [{"expect_column_values_to_be_unique": {"column": "later"}}]
    with pytest.raises(ContractFailed, match=r"min_non_null \(later\): 20 rows"):
        run(small.build(), spark, store, "run2")
    assert find_table(store, "small", "clean").version == 0


def test_steps_that_drop_more_than_is_allowed(spark: "SparkSession", tmp_path: Path, store: Store) -> None:
    small = Small(tmp_path).source(things(20)).steps({"filter": {"name": "late", "keep": "id > 14"}})
    with pytest.raises(TooManyFiltered, match=r"drop 15 of 20 rows, allowed is a share of 0\.5 \(late: 15\)") as caught:
        run(small.build(), spark, store)
    assert exit_code(caught.value) == 3
    assert_no_table(store)
    small.ingest["max_filtered"] = 0.75
    assert run(small.build(), spark, store).filtered == 15


@pytest.mark.parametrize(
    ("place", "arranged"),
    [
        ("row_number() over (partition by size order by weight desc, id)", [1, 1]),
        ("cast(id div 7 as int) + 1", [1, 2]),  # rows are arranged before the join, and again if it loses the order
    ],
)
def test_the_same_rows_in_the_same_order_whatever_the_partitions(
    spark: "SparkSession", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, arranged: list[int]
) -> None:
    monkeypatch.setattr(arrange, "ROWS_PER_PARTITION", 50)
    calls = [0]
    monkeypatch.setattr(build, "arrange", lambda *args: calls.append(calls.pop() + 1) or arrange.arrange(*args))
    small = (
        Small(tmp_path)
        .source(things(200))
        .steps(
            {"join": {"source": "kinds", "on": {"size": "kind"}, "columns": {"title": "title"}}},
            {"derive": {"place": place}},
            {"filter": {"name": "first", "keep": "place < 25"}},
        )
    )
    kinds = csv("kind,title", "0,none", "1,one", "2,two", "3,three")
    product = small.source(kinds, name="kinds", file="kinds.csv", columns={"kind": "int", "title": "string"}).build()
    found = []
    for shuffle, packed, broadcast in (("2", "128m", "10m"), ("7", "300b", "-1")):
        settings = {
            "spark.sql.shuffle.partitions": shuffle,
            "spark.sql.files.maxPartitionBytes": packed,
            "spark.sql.autoBroadcastJoinThreshold": broadcast,
            "spark.sql.adaptive.enabled": "false",
        }
        before = {name: spark.conf.get(name) for name in settings}
        for name, value in settings.items():
            spark.conf.set(name, value)
        try:
            run(product, spark, Store(str(tmp_path / shuffle)))
        finally:
            for name, old in before.items():
                spark.conf.set(name, str(old))
        found.append(rows_of(Store(str(tmp_path / shuffle)), "clean"))
        calls.append(0)
    assert calls[:2] == arranged
    assert content(Store(str(tmp_path / "2"))) == content(Store(str(tmp_path / "7")))
    assert found[0] == found[1]
    assert len(found[0]) == 168


@pytest.mark.hdfs
def test_a_verdict_that_cannot_be_written_is_none(spark: "SparkSession", tmp_path: Path, hdfs: Cluster) -> None:
    """The commit carries the verdict: without room for it the table is as it was, and the run worth a retry."""
    store = Store(f"{hdfs.hdfs}/full")
    store.put(b"", "tables", "small", "marker")
    hdfs.admin("-setSpaceQuota", "1m", "/full/tables")
    product = Small(tmp_path).source(things(20)).build()
    with pytest.raises(StorageError, match=r"writing the clean table: .*quota") as caught:
        run(product, spark, store)
    assert exit_code(caught.value) == 75
    assert "raise the quota" in caught.value.hint
    with pytest.raises(ArtifactNotFound):
        find_table(store, "small", "clean")
    hdfs.admin("-clrSpaceQuota", "/full/tables")
    assert run(product, spark, store, "run2").version == 0
    check_validated(find_table(store, "small", "clean"), digest_of(product.config.contract))


ROOT = Path(__file__).parents[2]
KILLED = """
import sys
from pathlib import Path
from ingest import stage
from ingest.changes import find_done
from millrace.config import load_product
from millrace.config.sections.profile import Spark
from pipelines.jobs.session import build_session
from millrace.storage import Store

product, store = load_product(Path(sys.argv[1])), Store(sys.argv[2])
spark = Spark(master="local[2]", driver_memory="1g", conf={"spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1"})
stage.run(product, build_session(spark, app_name="killed"), store, "killed")
"""


def test_killed_before_the_commit_and_run_again(spark: "SparkSession", tmp_path: Path, store: Store) -> None:
    # Without the function: another process may find another package named tests.
    product = full(tmp_path).steps(*STEPS[:2], *STEPS[3:]).build()
    clean = Store(str(tmp_path / "clean"))
    run(product, spark, clean)
    environment = {**os.environ, ENVIRONMENT: "ingest.before_commit=kill9", "PYTHONPATH": str(ROOT)}
    # A file, not -c: there pyspark takes Great Expectations' import of Spark Connect for a doctest, and exits with 0.
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "killed.py"), str(tmp_path / "small.yaml"), store.root]
    killed = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=200)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    assert store.exists("tables", "small", "rejects")
    assert not store.exists("tables", "small", "clean", "_delta_log")

    record = run(product, spark, store, "run2")
    assert (record.outcome, record.version) == ("committed", 0)
    assert content(store) == content(clean)
    names = [[Path(f.path).parent.name for f in find_table(s, "small", "clean").files] for s in (store, clean)]
    assert names[0] == names[1]
    assert content(store, "rejects", but=("run_id",)) == content(clean, "rejects", but=("run_id",))


def test_stopped_before_the_rejects(
    spark: "SparkSession", tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, "ingest.before_rejects=raise")
    with pytest.raises(FailpointFired):
        run(full(tmp_path).build(), spark, store)
    assert_no_table(store)


def generated(seed: int) -> tuple[bytes, dict[str, int]]:
    """Lines of every kind in a random order, and what should become of them, computed without Spark."""
    chance = random.Random(seed)
    kinds = {
        "out": lambda n: f"{n},name {n},{chance.randint(1, 5)},{chance.random():.3f}",
        "quoted": lambda n: f'{n},"a, ""{n}"" b",{chance.randint(1, 5)},-1e-3',
        "small": lambda n: f"{n},x,{chance.randint(-5, 0)},0",
        "null": lambda n: f"{n},,,",
        "type": lambda n: f"{n},x,{chance.choice(['1.5', 'one', '3000000000', '--1'])},0",
        "float": lambda n: f"{n},x,1,{chance.choice(['NaN', 'Infinity', '1e400', '-1e309'])}",
        "fields": lambda n: ",".join([str(n), *["1"] * chance.choice([0, 1, 2, 4, 9])]),
        "blank": lambda n: chance.choice(["", " ", "\t"]),
        "header": lambda n: HEADER,
    }
    names = [chance.choice(list(kinds)) for _ in range(chance.randint(30, 150))] + ["out"]
    lines = [kinds[name](number) for number, name in enumerate(names)]
    data = csv(HEADER, *lines, end=chance.choice(["\n", "\r\n"]))
    count = {name: names.count(name) for name in kinds}
    return chance.choice([data, b"\xef\xbb\xbf" + data]), {
        "rows_in": len(names),
        "rejected": sum(count[name] for name in ("type", "float", "fields", "blank", "header")),
        "filtered": count["small"] + count["null"],
        "rows_out": count["out"] + count["quoted"],
    }


@pytest.mark.parametrize("seed", range(4))
def test_no_row_is_lost_whatever_the_lines(
    spark: "SparkSession", tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    data, expected = generated(seed)
    small = Small(tmp_path).source(data).steps({"filter": {"name": "positive", "keep": "size > 0"}})
    small.ingest |= {"max_rejected": 1, "max_filtered": 1}
    monkeypatch.setattr(arrange, "ROWS_PER_PARTITION", 20)
    record = run(small.build(), spark, store)
    assert {name: getattr(record, name) for name in expected} == expected
    parts = {int(Path(file.path).name.split("-")[1]) for file in find_table(store, "small", "clean").files}
    assert max(parts) < 2 * arrange.partitions_for(expected["rows_out"])
    assert len(rows_of(store, "clean")) == expected["rows_out"]
    assert len(rows_of(store, "rejects")) == expected["rejected"]
    assert [row["name"] for row in rows_of(store, "clean") if row["weight"] == -1e-3][:1] != ["a"]
