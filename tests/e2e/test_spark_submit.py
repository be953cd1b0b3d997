"""Every stage with spark-submit and the zip alone, in a folder outside the project; each is killed once."""

import signal
from pathlib import Path

import pytest

from millrace.storage import Store
from millrace.tables.versions import CLEAN, PREDICTIONS
from pipelines.jobs.submit import CODE, entry
from tests.e2e.commands import Done, metrics_of, rows_digest, run_command
from tests.e2e.conftest import ROWS
from tests.made_up import write_product

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ARCHIVE = str(CODE)
KILLED_AT = {"ingest": "ingest.before_commit", "train": "train.before_publish", "score": "score.before_commit"}
"""Where each stage is killed: after its work, before its commit."""


def test_killed_stages_that_run_again_end_like_undisturbed_ones(tmp_path: Path, made: Store) -> None:
    write_product(tmp_path, ROWS)
    for stage, point in KILLED_AT.items():
        killed = submit(tmp_path, stage, fail=f"{point}=kill9")
        assert killed.code == 128 + signal.SIGKILL, killed.err
        done = submit(tmp_path, stage)
        assert done.code == 0, done.err
        assert (done.result["stage"], done.result["outcome"]) == (stage, "committed")
    store = Store(str(tmp_path / "millrace-store"))
    assert rows_digest(store, "shapes", CLEAN) == rows_digest(made, "shapes", CLEAN)
    run_columns = ("run_id", "model_digest", "logical_date", "scored_at")
    scored, expected = (rows_digest(each, "shapes", PREDICTIONS, run_columns) for each in (store, made))
    assert scored == expected
    assert metrics_of(store, "shapes") == metrics_of(made, "shapes")


def submit(folder: Path, stage: str, fail: str = "") -> Done:
    """Run a stage with ``spark-submit`` and the zip alone, in a folder outside the project."""
    options = ("--master", "local[2]", "--driver-memory", "1g", "--py-files", ARCHIVE)
    return run_command(folder, "spark-submit", *options, entry(stage), "--config", "shapes.yaml", fail=fail, path="")


def test_a_mistake_in_the_file_ends_with_78_before_spark_starts(tmp_path: Path) -> None:
    path = write_product(tmp_path, 10)
    path.write_text(path.read_text().replace("epochs: 3", "epoch: 3"))
    done = run_command(tmp_path, "python", entry("train"), "--config", "shapes.yaml")
    assert (done.code, done.result["outcome"]) == (78, "failed")
    assert "unknown key 'epoch'; did you mean 'epochs'?" in done.err
    assert "Spark" not in done.err


def test_the_code_comes_from_the_zip(tmp_path: Path) -> None:
    script = tmp_path / "where.py"
    script.write_text(
        "from pyspark.sql import SparkSession\n"
        "import pipelines\n"
        "spark = SparkSession.builder.getOrCreate()\n"
        "there = spark.sparkContext.parallelize([0], 1).map(lambda _: __import__('pipelines').__file__).collect()\n"
        'print(f\'["{pipelines.__file__}", "{there[0]}"]\')\n'
    )
    done = run_command(tmp_path, "spark-submit", "--master", "local[1]", "--py-files", ARCHIVE, str(script), path="")
    assert done.code == 0, done.err
    assert all("millrace.zip" in path for path in done.result), done.out
