"""What set-up adds to the environment's Spark."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

COORDINATE = "org.example:thing:1.0"
CONTENT = b"a jar"


@pytest.fixture
def script(load_script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, wanting one jar."""
    module = load_script("spark_home")
    digest = hashlib.sha256(CONTENT).hexdigest()
    monkeypatch.setattr(module, "wanted_jars", lambda: {COORDINATE: digest})
    return module


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A Spark folder whose Ivy is not one, so that fetching fails."""
    (tmp_path / "spark" / "jars").mkdir(parents=True)
    (tmp_path / "spark" / "jars" / "ivy-0.jar").touch()
    return tmp_path / "spark"


def test_a_cached_jar_is_copied_without_fetching(script: ModuleType, home: Path) -> None:
    (script.cache_dir("jars") / "thing-1.0.jar").write_bytes(CONTENT)
    script.install_jars(home)
    assert (home / "jars" / "thing-1.0.jar").read_bytes() == CONTENT


def test_a_damaged_jar_is_never_used(script: ModuleType, home: Path) -> None:
    (script.cache_dir("jars") / "thing-1.0.jar").write_bytes(b"half")
    with pytest.raises(SystemExit, match="did not arrive whole"):
        script.install_jars(home)
    assert not (home / "jars" / "thing-1.0.jar").exists()


def test_a_jar_no_longer_wanted_goes_away(script: ModuleType, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (script.cache_dir("jars") / "thing-1.0.jar").write_bytes(CONTENT)
    script.install_jars(home)
    monkeypatch.setattr(script, "wanted_jars", dict)
    script.install_jars(home)
    assert sorted(path.name for path in (home / "jars").iterdir()) == ["ivy-0.jar"]


def test_settings_are_a_copy_of_ours(
    script: ModuleType, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours = tmp_path / "conf" / "spark"
    ours.mkdir(parents=True)
    (ours / "log4j2.properties").write_text("rootLogger.level = error\n")
    (ours / "README.md").touch()
    (home / "conf").mkdir()
    (home / "conf" / "gone.conf").touch()
    monkeypatch.setattr(script, "ROOT", tmp_path)
    script.install_settings(home)
    assert [path.name for path in (home / "conf").iterdir()] == ["log4j2.properties"]
