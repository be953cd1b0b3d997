"""The cache of model versions on this machine."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from millrace.errors import ConfigError
from millrace.models import cache
from millrace.models.cache import OwnedFolder, cache_folder, evict, remove_copy

HOURS_AGO = 7200.0


def add(root: Path, name: str, size: int, age_s: float) -> Path:
    copy = root / "digest" / name / "1"
    (copy / "variables").mkdir(parents=True)
    (copy / "variables" / "data").write_bytes(b"x" * size)
    used = time.time() - age_s
    os.utime(copy, (used, used))
    return copy


@pytest.mark.case("B24")
def test_what_was_not_used_for_long_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_CACHE_GB", "0.00000035")
    old, older, recent = add(tmp_path, "a", 100, 8000), add(tmp_path, "b", 100, 9000), add(tmp_path, "c", 100, 60)
    kept = add(tmp_path, "d", 100, 10_000)
    evict(kept)
    assert [copy.exists() for copy in (older, old, recent, kept)] == [False, True, True, True]
    assert not older.parent.exists()
    monkeypatch.setenv("MILLRACE_CACHE_GB", "0")
    evict(kept)
    assert [copy.exists() for copy in (old, recent, kept)] == [False, True, True]


@pytest.mark.case("B24")
def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    kept = add(tmp_path, "a", 10, 60)
    staged = kept.with_name(".tmp-x")
    staged.mkdir()
    os.utime(staged, (1, 1))
    slow = kept.with_name(".tmp-slow")  # a download that takes hours
    slow.mkdir()
    os.utime(slow, (time.time() - HOURS_AGO,) * 2)
    evict(kept)
    assert sorted(path.name for path in kept.parent.iterdir()) == [".tmp-slow", "1"]


@pytest.mark.parametrize("text", ["many", "-1", "nan", "inf"])
def test_a_limit_that_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MILLRACE_CACHE_GB", text)
    with pytest.raises(ConfigError, match="MILLRACE_CACHE_GB: expected a number of gigabytes"):
        evict(add(tmp_path, "a", 10, 60))


@pytest.mark.case("B25")
def test_two_processes_remove_one_copy(tmp_path: Path) -> None:
    copy = add(tmp_path, "a", 10, 60)
    remove_copy(copy)
    remove_copy(copy)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.case("B24")
def test_a_folder_ends_with_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path))
    code = """
import os, signal
from millrace.models.cache import OwnedFolder
print(OwnedFolder('half').path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    left = Path(killed.stdout.strip())
    assert left.is_dir()
    mine = OwnedFolder("half")
    assert (left.exists(), mine.path.is_dir()) == (False, True)
    other = OwnedFolder("half")
    assert mine.path.is_dir(), "it is in use"
    for folder in (mine, other, other):
        folder.remove()
    assert list((tmp_path / "foreign").iterdir()) == []


@pytest.mark.case("D4")
def test_a_user_without_a_home_gets_a_temporary_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.delenv("MILLRACE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(blocked))
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = cache_folder()
    assert folder == tmp_path / f"millrace-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert cache_folder() == folder
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match="others can write to it"):
        cache_folder()


@pytest.mark.case("D4")
def test_a_named_folder_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ConfigError, match=r"MILLRACE_CACHE: .* cannot be written") as caught:
        cache_folder()
    assert "this user may create" in caught.value.hint
