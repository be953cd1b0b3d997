"""The command that starts a stage, and the versions that it is told to read."""

import sys
from pathlib import Path

import pytest

from millrace.config import load_product
from millrace.errors import ArtifactNotFound, ConfigError
from millrace.models.store import ModelStore
from millrace.storage import Store
from pipelines.schedule import submit
from pipelines.schedule.log import Started
from pipelines.schedule.processes import owner
from pipelines.schedule.submit import SparkSubmit
from tests.made_up import write_clean, write_product
from tests.millrace.manifests import export, manifest_of
from tests.pipelines.schedule.small import START


def commands(folder: Path, *settings: str, py_files: Path | None = None) -> SparkSubmit:
    path = write_product(folder, 10)
    all_settings = [f"store.root={folder / 'store'}", *settings]
    product = load_product(path, settings=all_settings)
    return SparkSubmit(product, path, settings=all_settings, py_files=py_files)


def run(stage: str, zone: str = "UTC", **inputs: int) -> Started:
    return Started(
        at=START, tick=START, zone=zone, stage=stage, attempt=1, run="r", place="/x", owner=owner("k"), inputs=inputs
    )


def test_the_whole_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYSPARK_PYTHON", raising=False)
    monkeypatch.setenv("PYSPARK_DRIVER_PYTHON", "python3")
    made = commands(tmp_path, "spark.conf={spark.ui.enabled: false}")
    line = made.command(run("score", "America/New_York", table=3, model=2))
    assert line[0].endswith("/spark-submit")
    entry = line.index(str(submit.ROOT / "pipelines" / "jobs" / "run_score.py"))
    options, arguments = line[1:entry], line[entry + 1 :]
    assert options == [
        *("--name", "millrace shapes score", "--master", "local[*,4]", "--driver-memory", "2g"),
        *("--conf", f"spark.pyspark.python={sys.executable}", "--conf", "spark.ui.enabled=false"),
    ]
    assert arguments == [
        *("--config", str(tmp_path / "shapes.yaml"), "--profile", "local"),
        *("--set", f"store.root={tmp_path / 'store'}", "--set", "spark.conf={spark.ui.enabled: false}"),
        # Midnight in UTC is the evening before in New York.
        *("--date", "2026-03-01", "--table-version", "3", "--model-version", "2"),
    ]
    assert "--date" not in made.command(run("ingest"))


def test_executors_of_a_cluster_get_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "code.zip"
    archive.touch()
    made = commands(tmp_path, "spark.master=yarn", py_files=archive)
    line = made.command(run("train"))
    assert line[line.index("--py-files") + 1] == str(archive)
    assert commands(tmp_path).archive() is None
    monkeypatch.setattr(submit, "CODE", tmp_path / "dist" / "millrace.zip")
    with pytest.raises(ConfigError, match=r"yarn needs .*dist/millrace.zip, which is not there") as caught:
        commands(tmp_path, "spark.master=yarn").archive()
    assert "make zip" in caught.value.hint


def test_what_scoring_reads(tmp_path: Path) -> None:
    made = commands(tmp_path)
    store = Store(made.product.config.store.root)
    with pytest.raises(ArtifactNotFound, match="there is no table 'shapes/clean' in the store"):
        made.inputs("score", {})
    write_clean(store, 10)
    with pytest.raises(ArtifactNotFound, match="there is no model 'shapes' in the store"):
        made.inputs("score", {})
    ModelStore(store).publish(export(tmp_path / "model"), manifest_of("shapes"))
    assert made.inputs("score", {}) == {"table": 1, "model": 1}
    assert made.inputs("score", {"ingest": 7, "train": 5}) == {"table": 7, "model": 5}
    assert made.inputs("train", {"ingest": 7}) == {}


def test_the_driver_finds_the_code_that_the_scheduler_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/own")
    assert commands(tmp_path).environment()["PYTHONPATH"] == f"{submit.ROOT}:/own"
    monkeypatch.delenv("PYTHONPATH")
    assert commands(tmp_path).environment()["PYTHONPATH"] == str(submit.ROOT)


def test_a_driver_in_the_cluster_is_asked_by_our_own_command(tmp_path: Path) -> None:
    line = commands(tmp_path, "spark.deploy_mode=cluster").command(run("score", table=3, model=2))
    assert line[:5] == [sys.executable, "-m", "pipelines.commands.cli", "score", str(tmp_path / "shapes.yaml")]
    assert line[-6:] == ["--date", "2026-03-02", "--table-version", "3", "--model-version", "2"]
