"""The entries ``run_<stage>.py``, run as spark-submit does: the file alone, and the packages in the archive."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
OPTIONS = {
    "ingest": ("--full", "--allow-empty"),
    "train": (),
    "score": ("--date", "--model-version", "--table-version"),
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dist") / "millrace.zip"
    subprocess.run([sys.executable, ROOT / "scripts" / "dist.py", path], check=True)
    return path


def run_entry(stage: str, archive: Path, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Copy the entry out of its package, then run it in a folder without packages."""
    entry = shutil.copy(ROOT / "pipelines" / "jobs" / f"run_{stage}.py", folder)
    env = {**os.environ, "PYTHONPATH": str(archive)}
    command = [sys.executable, entry, *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("stage", OPTIONS)
def test_help(stage: str, archive: Path, tmp_path: Path) -> None:
    done = run_entry(stage, archive, tmp_path, "--help")
    assert done.returncode == 0, done.stderr
    for option in ("--config", "--profile", "--set", *OPTIONS[stage]):
        assert option in done.stdout


@pytest.mark.parametrize("stage", OPTIONS)
def test_a_wrong_file_is_reported_before_spark_starts(stage: str, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("product: a\nsorces: {}\n")
    done = run_entry(stage, archive, tmp_path, "--config", "a.yaml")
    assert done.returncode == 78, done.stderr
    assert "a.yaml:2: sorces: unknown key 'sorces'; did you mean 'sources'?" in done.stderr
    assert f'"stage": "{stage}"' in done.stdout.splitlines()[-1]
