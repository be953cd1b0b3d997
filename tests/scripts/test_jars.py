"""Installation of the listed jars: a jar with a wrong digest is not installed."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

COORDINATE = "org.example:thing:1.0"
CONTENT = b"a jar"


@pytest.fixture
def script(load_script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script with a list of one jar, and an invalid Ivy, so that every download fails."""
    module = load_script("jars")
    digest = hashlib.sha256(CONTENT).hexdigest()
    (tmp_path / "spark" / "jars").mkdir(parents=True)
    (tmp_path / "spark" / "jars" / "ivy-0.jar").touch()
    monkeypatch.setattr(module, "wanted_jars", lambda listed: {COORDINATE: digest})
    monkeypatch.setattr(module, "spark_home", lambda: tmp_path / "spark")
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The target folder, which already contains a jar of another origin."""
    (tmp_path / "home" / "jars").mkdir(parents=True)
    (tmp_path / "home" / "jars" / "other.jar").touch()
    return tmp_path / "home" / "jars"


def test_a_cached_jar_is_copied_without_fetching(script: ModuleType, folder: Path) -> None:
    (script.cache_dir("jars") / "thing-1.0.jar").write_bytes(CONTENT)
    script.install_jars("list", folder)
    assert (folder / "thing-1.0.jar").read_bytes() == CONTENT


def test_a_damaged_jar_is_never_used(script: ModuleType, folder: Path) -> None:
    (script.cache_dir("jars") / "thing-1.0.jar").write_bytes(b"half")
    with pytest.raises(SystemExit, match="failed or is damaged"):
        script.install_jars("list", folder)
    assert not (folder / "thing-1.0.jar").exists()


def test_a_jar_that_is_no_longer_listed_is_deleted(
    script: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (script.cache_dir("jars") / "thing-1.0.jar").write_bytes(CONTENT)
    script.install_jars("list", folder)
    monkeypatch.setattr(script, "wanted_jars", lambda listed: {})
    script.install_jars("list", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["other.jar"]


@pytest.mark.parametrize("listed", ["spark-jars.txt", "hadoop-jars.txt"])
def test_every_listed_jar_has_a_digest(listed: str, load_script: Callable[[str], ModuleType]) -> None:
    wanted = load_script("jars").wanted_jars(listed)
    assert wanted
    assert all(coordinate.count(":") == 2 and len(digest) == 64 for coordinate, digest in wanted.items())
