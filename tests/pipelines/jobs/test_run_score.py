"""The entry of the score stage for spark-submit, from another working folder with the archive alone."""

from pathlib import Path

from tests.pipelines.jobs.entries import run_entry


def test_help(tmp_path: Path) -> None:
    done = run_entry("score", tmp_path, "--help")
    assert done.returncode == 0, done.stderr
    for option in ("--config", "--profile", "--set", "--date", "--model-version", "--table-version"):
        assert option in done.stdout


def test_a_wrong_file_is_told_before_spark_starts(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("product: a\nsorces: {}\n")
    done = run_entry("score", tmp_path, "--config", "a.yaml")
    assert done.returncode == 78, done.stderr
    assert "a.yaml:2: sorces: unknown key 'sorces'; did you mean 'sources'?" in done.stderr
    assert '"stage": "score"' in done.stdout.splitlines()[-1]
