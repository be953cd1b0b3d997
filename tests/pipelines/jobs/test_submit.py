"""Parts of a spark-submit line."""

import sys
from pathlib import Path

import pytest

from millrace.errors import ConfigError
from pipelines.jobs import submit


def test_java_reads_the_settings() -> None:
    conf: dict[str, str | int | float | bool] = {"a": True, "b": 2, "c": "x y"}
    assert submit.conf_options(conf) == ["--conf", "a=true", "--conf", "b=2", "--conf", "c=x y"]


def test_the_program_of_this_environment_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert submit.spark_submit() == str(Path(sys.executable).with_name("spark-submit"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="there is no spark-submit"):
        submit.spark_submit()
    program = tmp_path / "bin" / "spark-submit"
    program.parent.mkdir()
    program.touch(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    assert submit.spark_submit() == str(program)
