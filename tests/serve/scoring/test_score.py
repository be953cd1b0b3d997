"""Batch scoring on Spark, from a clean table to the predictions table."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from deltalake import DeltaTable

from millrace.errors import ArtifactNotFound, ConfigError, DataRejected, FeatureMismatch, InputMissing, StorageError
from millrace.models.manifest import ModelDamaged
from millrace.models.store import ModelStore
from millrace.models.vocabularies import FILE
from millrace.runs import new_run_id
from millrace.storage import Store
from millrace.tables.validation import NotValidated
from millrace.tables.versions import PREDICTIONS, DataFile, find_table, table_parts
from pipelines.jobs.exits import exit_code
from serve.errors import ScoringFailed, TooManyUnseen
from serve.scoring import plan, score
from serve.servables.manager import ServableManager
from serve.server.app import Application
from tests.serve.client import predict
from tests.serve.models import INPUTS, POISON, served
from tests.serve.products import product_of
from tests.serve.tables import DDL, make_rows, write_clean

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from millrace.runs import RunRecord

pytestmark = [pytest.mark.spark, pytest.mark.tf]

ROOT = Path(__file__).parents[3]
ROWS = 1_000
PRODUCT = product_of("tiny")


@pytest.fixture(scope="module")
def prepared(spark: "SparkSession", model_store: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with the models and a clean table; tests copy it."""
    store = Store(str(tmp_path_factory.mktemp("prepared")))
    shutil.copytree(model_store.store.uri("models"), store.uri("models"))
    write_clean(spark, store, "tiny", make_rows(ROWS))
    return store


@pytest.fixture
def filled(prepared: Store, tmp_path: Path) -> Store:
    """A store of one's own."""
    shutil.copytree(prepared.root, tmp_path / "filled")
    return Store(str(tmp_path / "filled"))


def run(spark: "SparkSession", store: Store, product: Any = PRODUCT, **options: Any) -> "RunRecord":
    return score.run(product, spark, store, new_run_id(), **options)


def predictions_of(spark: "SparkSession", store: Store, product: str = "tiny") -> list[dict[str, Any]]:
    """All rows of the predictions table, as Spark reads them."""
    frame = spark.read.format("delta").load(store.uri(*table_parts(product, PREDICTIONS)))
    return [row.asDict() for row in frame.orderBy("id").collect()]


def test_scores_every_row_once_and_a_second_run_adds_nothing(
    spark: "SparkSession", filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(spark, filled)
    assert (first.outcome, first.rows_in, first.rows_out, first.rejected) == ("committed", ROWS, ROWS, 0)
    found = predictions_of(spark, filled)
    assert [row["id"] for row in found] == list(range(ROWS))
    assert [row["split"] for row in found] == [row["split"] for row in make_rows(ROWS)]
    table = find_table(filled, "tiny", "clean")
    assert {(row["model_version"], row["table_version"]) for row in found} == {(2, table.version)}
    assert {str(row["logical_date"]) for row in found} == {first.details["logical_date"]}
    monkeypatch.setattr(score, "run_on_spark", lambda *_: pytest.fail("it was computed again"))
    again = run(spark, filled)
    assert (again.outcome, again.version, again.rows_out) == ("already_committed", first.version, ROWS)
    assert len(predictions_of(spark, filled)) == ROWS
    assert len(list(Path(filled.root).rglob("tables/tiny/predictions/*/*.parquet"))) == len(
        find_table(filled, "tiny", PREDICTIONS).files
    )


def test_rest_and_batch_agree(spark: "SparkSession", filled: Store) -> None:
    run(spark, filled)
    batch = {row["id"]: row for row in predictions_of(spark, filled)}
    manager = ServableManager(ModelStore(filled), served("tiny"))
    manager.load()
    names = [feature.name for feature in INPUTS]
    rows = make_rows(ROWS)
    body = {"instances": [{n: row[n].isoformat() if n == "seen" and row[n] else row[n] for n in names} for row in rows]}
    online = predict(Application(manager, PRODUCT.config.serve), body).json()["predictions"]
    assert max(abs(o["probability"] - batch[r["id"]]["probability"]) for o, r in zip(online, rows, strict=True)) <= 1e-6
    assert all(o["class"] == batch[r["id"]]["class"] for o, r in zip(online, rows, strict=True))


def test_another_model_table_date_or_section_adds_another_copy(spark: "SparkSession", filled: Store) -> None:
    keys = {
        str(run(spark, filled, product, **options).details["commit_key"])
        for product, options in (
            (PRODUCT, {}),
            (PRODUCT, {"model_version": 1}),
            (PRODUCT, {"logical_date": "2013-01-31"}),
            (product_of("tiny", score={"split": "test"}), {}),
        )
    }
    assert len(keys) == 4
    assert len(predictions_of(spark, filled)) == 3 * ROWS + ROWS // 4
    write_clean(spark, filled, "tiny", make_rows(10, first=ROWS))
    assert run(spark, filled).rows_in == ROWS + 10
    assert run(spark, filled, table_version=0).outcome == "already_committed"


def test_the_other_tasks(spark: "SparkSession", filled: Store) -> None:
    for name in ("kinds", "size"):
        shutil.copytree(filled.uri("tables", "tiny"), filled.uri("tables", name))
        assert run(spark, filled, product_of(name)).rows_out == ROWS
    row = predictions_of(spark, filled, "kinds")[0]
    assert sum(row["probabilities"]) == pytest.approx(1)
    assert row["class"] in ("low", "mid", "high")
    assert isinstance(predictions_of(spark, filled, "size")[0]["prediction"], float)


def test_rows_without_an_answer_are_counted_as_rejected(spark: "SparkSession", filled: Store) -> None:
    rows = make_rows(10, first=ROWS)
    rows[4]["amount"] = POISON
    rows[6]["city"] = None
    write_clean(spark, filled, "tiny", rows)
    record = run(spark, filled)
    assert (record.rows_in, record.rows_out, record.rejected) == (ROWS + 10, ROWS + 8, 2)
    errors = {row["id"]: row["error"] for row in predictions_of(spark, filled) if row["error"]}
    assert errors == {ROWS + 4: "probability is not finite", ROWS + 6: "city is missing"}


def test_a_table_where_no_row_has_an_answer_is_refused(spark: "SparkSession", filled: Store) -> None:
    shutil.rmtree(filled.uri("tables", "tiny"))
    write_clean(spark, filled, "tiny", [{**row, "amount": POISON} for row in make_rows(8)])
    with pytest.raises(DataRejected, match="not one of 8 rows"):
        run(spark, filled)
    assert not list(Path(filled.uri("tables", "tiny")).rglob("predictions/*/*.parquet"))


@pytest.mark.parametrize(("odd", "told"), [(1, False), (600, True)])
def test_categories_that_the_model_never_saw(spark: "SparkSession", filled: Store, odd: int, told: bool) -> None:
    """0.1 % and 60 % of the rows."""
    shutil.rmtree(filled.uri("tables", "tiny"))
    rows = [{**row, "city": "Atlantis" if n < odd else "Oslo"} for n, row in enumerate(make_rows(ROWS))]
    write_clean(spark, filled, "tiny", rows)
    if not told:
        assert run(spark, filled).details["unseen"] == {"city": 1}
        assert run(spark, filled).details["unseen"] == {"city": 1}  # from the commit
        return
    with pytest.raises(TooManyUnseen, match=r"city in 600 of 1000 rows; allowed is a share of 0\.5") as caught:
        run(spark, filled)
    assert exit_code(caught.value) == 3
    assert not list(Path(filled.uri("tables", "tiny")).rglob("predictions/*/*.parquet"))
    assert not filled.exists(*table_parts("tiny", PREDICTIONS), "_delta_log")
    # How much is allowed does not decide what the rows mean: the key stays, and nothing can be added twice.
    keys = {run(spark, filled, product_of("tiny", score={"max_unseen": n})).details["commit_key"] for n in (0.6, 0.9)}
    assert len(keys) == 1


def test_a_model_without_its_vocabularies(
    spark: "SparkSession", filled: Store, caplog: pytest.LogCaptureFixture
) -> None:
    old = ModelStore(filled).open("tiny")
    with filled.local_copy("models", "tiny", "2") as folder:
        shutil.copytree(folder, filled.uri("old"))
    Path(filled.uri("old"), FILE).unlink()
    ModelStore(filled).publish(Path(filled.uri("old")), old.manifest)
    assert run(spark, filled).details["unseen"] == {}
    assert "without its vocabularies: unseen categories are not counted" in caplog.text


def test_only_a_validated_table_is_scored(spark: "SparkSession", filled: Store) -> None:
    table = find_table(filled, "tiny", "clean")
    DeltaTable(table.uri).delete("id = 7")
    with pytest.raises(NotValidated, match="names no contract"):
        run(spark, filled)
    assert run(spark, filled, table_version=table.version).rows_in == ROWS


def test_a_retyped_column_is_refused_before_any_compute(
    spark: "SparkSession", filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score, "run_on_spark", lambda *_: pytest.fail("Spark was asked"))
    shutil.rmtree(filled.uri("tables", "tiny"))
    rows = [{**row, "count": str(row["count"])} for row in make_rows(8)]
    write_clean(spark, filled, "tiny", rows, DDL.replace("count int", "count string"))
    with pytest.raises(FeatureMismatch, match="count: expected type int64, found string"):
        run(spark, filled)


def test_what_is_missing_or_damaged_is_said(spark: "SparkSession", filled: Store) -> None:
    with pytest.raises(ArtifactNotFound):
        run(spark, filled, product_of("other"))
    with pytest.raises(ArtifactNotFound):
        run(spark, filled, model_version=9)
    with pytest.raises(ArtifactNotFound):
        run(spark, filled, table_version=9)
    with pytest.raises(ConfigError):
        run(spark, filled, logical_date="tomorrow")
    (Path(filled.uri("models", "tiny", "2")) / "fingerprint.pb").write_bytes(b"")
    with pytest.raises(ModelDamaged):
        run(spark, filled, model_version=2)


@pytest.mark.case("B12")
def test_a_damaged_newest_version_is_replaced_by_the_one_before(spark: "SparkSession", filled: Store) -> None:
    newest, *before = reversed(ModelStore(filled).versions("tiny"))
    run(spark, filled, logical_date="2013-03-03")
    (Path(filled.uri("models", "tiny", str(newest))) / "fingerprint.pb").write_bytes(b"")
    assert before
    assert run(spark, filled).details["model_version"] == before[0]
    done = run(spark, filled, logical_date="2013-03-03")
    assert (done.outcome, done.details["model_version"]) == ("already_committed", newest)
    for version in before:
        (Path(filled.uri("models", "tiny", str(version))) / "fingerprint.pb").write_bytes(b"")
    with pytest.raises(ModelDamaged):
        run(spark, filled, logical_date="2013-05-05")


def test_an_empty_table_is_missing_input(spark: "SparkSession", filled: Store) -> None:
    shutil.rmtree(filled.uri("tables", "tiny"))
    write_clean(spark, filled, "tiny", [])
    with pytest.raises(InputMissing, match="no rows to score"):
        run(spark, filled)


def test_a_flipped_bit_in_the_table_is_told_with_its_file(spark: "SparkSession", filled: Store) -> None:
    file = Path(find_table(filled, "tiny", "clean").files[0].path)
    data = bytearray(file.read_bytes())
    data[60] ^= 1
    file.write_bytes(data)
    with pytest.raises(DataRejected, match=file.name):
        run(spark, filled)
    assert not list(Path(filled.uri("tables", "tiny")).rglob("predictions/*/*.parquet"))


@pytest.mark.case("B25")
def test_a_worker_that_fails_otherwise_is_a_storage_error(spark: "SparkSession", filled: Store) -> None:
    files = find_table(filled, "tiny", "clean").files
    Path(files[-1].path).unlink()
    with pytest.raises(ScoringFailed, match=r"StorageError: .* this file, but it is gone"):
        run(spark, filled)
    assert not list(Path(filled.uri("tables", "tiny")).rglob("predictions/*/*.parquet")), "other tasks had finished"
    Path(files[0].path).unlink()
    with pytest.raises(StorageError, match="this file, but it is gone"):
        run(spark, filled)


CODE = """
import sys
from types import SimpleNamespace
from millrace.storage import Store
from serve.scoring import plan, score
from serve.scoring.batches import run_task
from tests.serve.products import product_of
# What Spark's workers write nobody sees before the driver's commit, so the driver alone is what matters here.
score.run_on_spark = lambda spark, job: [run_task(job, number) for number in range(len(job.tasks))]
spark = SimpleNamespace(sparkContext=SimpleNamespace(defaultParallelism=1))
score.run(product_of("tiny"), spark, Store(sys.argv[1]), "killed")
"""


def test_a_kill_before_the_commit_leaves_nothing_and_a_rerun_makes_one_copy(
    spark: "SparkSession", filled: Store
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MILLRACE_FAIL": "score.before_commit=kill9"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, filled.root], cwd=ROOT, env=environment, check=False, capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert list(Path(filled.uri("tables", "tiny")).rglob("predictions/*/*.parquet"))
    assert not filled.exists(*table_parts("tiny", PREDICTIONS), "_delta_log")
    assert run(spark, filled).outcome == "committed"
    assert [row["id"] for row in predictions_of(spark, filled)] == list(range(ROWS))


def files_of(*rows: int) -> tuple[DataFile, ...]:
    return tuple(DataFile(f"f{n}", count, {"split": "train"}) for n, count in enumerate(rows))


@pytest.mark.parametrize("cores", [1, 2, 16])
@pytest.mark.parametrize("rows", [(1,), (262_144, 65_536, 5), (10,) * 50, (3_000_000, 1), (65_536,) * 64, (0, 7)])
def test_tasks_hold_every_row_once_and_are_even(rows: tuple[int, ...], cores: int) -> None:
    tasks = plan.cut_tasks(files_of(*rows), cores)
    seen = [(p.rows.path, n) for task in tasks for p in task for n in (p.rows.start, p.rows.stop)]
    assert seen == sorted(seen, key=lambda item: (int(item[0][1:]), item[1]))
    counts = [sum(p.rows.rows for p in task) for task in tasks]
    assert sum(counts) == sum(rows)
    assert len(tasks) <= max(plan.TASKS_PER_CORE * cores, sum(rows) // plan.MAX_TASK_ROWS + 1)
    assert max(counts) <= sum(rows) / len(tasks) + plan.CHUNK_ROWS
    assert all(p.rows.start % plan.CHUNK_ROWS == 0 for task in tasks for p in task)
