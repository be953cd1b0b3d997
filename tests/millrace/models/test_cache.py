"""The cache of model versions on this machine."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from millrace.errors import ConfigError, StorageError
from millrace.models import cache
from millrace.models.cache import OwnedFolder, cache_folder, evict

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
    """A third one sees all of its files or none."""
    copy = add(tmp_path, "a", 10, 60)
    for number in range(2_000):
        (copy / f"{number}").touch()
    everything = len(os.listdir(copy))
    code = f"from pathlib import Path; from millrace.models.cache import remove_copy; remove_copy(Path({str(copy)!r}))"
    removing = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    seen = set()
    while any(process.poll() is None for process in removing):
        try:
            seen.add(len(os.listdir(copy)))
        except FileNotFoundError:
            seen.add(0)
    assert [process.wait() for process in removing] == [0, 0]
    assert seen <= {everything, 0}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.case("B24")
def test_a_copy_that_another_process_begins_to_use_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLRACE_CACHE_GB", "0")
    old, kept = add(tmp_path, "a", 10, 8000), add(tmp_path, "b", 10, 60)
    plain = cache._entries

    def scanned(root: Path) -> list[tuple[float, int, Path]]:
        found = list(plain(root))
        cache.mark_used(old)
        return found

    monkeypatch.setattr(cache, "_entries", scanned)
    evict(kept)
    assert old.exists()


@pytest.mark.case("B24")
def test_processes_that_start_together_do_not_remove_each_other_s_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path))
    code = """
from millrace.models.cache import OwnedFolder
for _ in range(1000):
    folder = OwnedFolder('half')
    locks = [file.name for file in folder.path.parent.iterdir() if file.name.startswith(folder.path.name + '.')]
    assert folder.path.is_dir() and len(locks) == 1, (folder.path.is_dir(), locks)
    folder.remove()
"""
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert list((tmp_path / "foreign").iterdir()) == []


@pytest.mark.case("B24")
@pytest.mark.parametrize("name", ["half", "resnet.v2-1", "a.lock"])
def test_a_folder_ends_with_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path))
    code = f"""
import os, signal
from millrace.models.cache import OwnedFolder
print(OwnedFolder({name!r}).path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    left = Path(killed.stdout.strip())
    assert left.is_dir()
    mine = OwnedFolder(name)
    assert (left.exists(), mine.path.is_dir()) == (False, True)
    other = OwnedFolder(name)
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


@pytest.mark.case("S5")
def test_a_full_disk_is_the_cache_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_check_writable", lambda _: pytest.fail("a full disk cannot be written to"))
    with pytest.raises(StorageError, match=rf"the cache {tmp_path} is full: [0-9,.]+ MB are free") as caught:
        with cache.errors_of_full_disk(tmp_path):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert "MILLRACE_CACHE" in caught.value.hint
    with pytest.raises(TimeoutError), cache.errors_of_full_disk(tmp_path):
        raise TimeoutError(errno.ETIMEDOUT, "away")


@pytest.mark.case("B24")
def test_a_limit_that_is_no_number_is_found_before_anything_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_CACHE_GB", "ten")
    with pytest.raises(ConfigError, match="MILLRACE_CACHE_GB: expected a number of gigabytes, found 'ten'"):
        cache_folder()
