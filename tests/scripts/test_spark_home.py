"""Files that set-up adds to the environment's Spark."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


def test_settings_are_copied_from_the_project(
    load_script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = load_script("spark_home")
    home = tmp_path / "spark"
    ours = tmp_path / "conf" / "spark"
    ours.mkdir(parents=True)
    (ours / "log4j2.properties").write_text("rootLogger.level = error\n")
    (ours / "README.md").touch()
    (home / "conf").mkdir(parents=True)
    (home / "conf" / "gone.conf").touch()
    monkeypatch.setattr(script, "ROOT", tmp_path)
    script.install_settings(home)
    assert [path.name for path in (home / "conf").iterdir()] == ["log4j2.properties"]
