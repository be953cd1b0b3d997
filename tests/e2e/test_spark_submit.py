"""Every stage runs with spark-submit and the zip alone, in a folder outside the project."""

from pathlib import Path

import pytest

from tests.e2e.commands import ROOT, run_command
from tests.made_up import write_product

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def test_all_stages_with_spark_submit(tmp_path: Path) -> None:
    write_product(tmp_path, 2_000)
    archive = str(ROOT / "dist" / "millrace.zip")
    for stage in ("ingest", "train", "score"):
        entry = str(ROOT / "pipelines" / "jobs" / f"run_{stage}.py")
        options = ("--master", "local[2]", "--driver-memory", "1g", "--py-files", archive)
        done = run_command(tmp_path, "spark-submit", *options, entry, "--config", "shapes.yaml", path="")
        assert done.code == 0, done.err
        assert (done.result["stage"], done.result["outcome"]) == (stage, "committed")


def test_a_mistake_in_the_file_ends_with_78_before_spark_starts(tmp_path: Path) -> None:
    path = write_product(tmp_path, 10)
    path.write_text(path.read_text().replace("epochs: 3", "epoch: 3"))
    entry = str(ROOT / "pipelines" / "jobs" / "run_train.py")
    done = run_command(tmp_path, "python", entry, "--config", "shapes.yaml")
    assert (done.code, done.result["outcome"]) == (78, "failed")
    assert "unknown key 'epoch'; did you mean 'epochs'?" in done.err
    assert "Spark" not in done.err


def test_the_code_comes_from_the_zip(tmp_path: Path) -> None:
    archive = str(ROOT / "dist" / "millrace.zip")
    script = tmp_path / "where.py"
    script.write_text(
        "from pyspark.sql import SparkSession\n"
        "import pipelines\n"
        "spark = SparkSession.builder.getOrCreate()\n"
        "there = spark.sparkContext.parallelize([0], 1).map(lambda _: __import__('pipelines').__file__).collect()\n"
        'print(f\'["{pipelines.__file__}", "{there[0]}"]\')\n'
    )
    done = run_command(tmp_path, "spark-submit", "--master", "local[1]", "--py-files", archive, str(script), path="")
    assert done.code == 0, done.err
    assert all("millrace.zip" in path for path in done.result), done.out
