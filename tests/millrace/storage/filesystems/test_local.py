"""The local disk: what POSIX would do in silence."""

from pathlib import Path

import pytest

from millrace.storage import LocalFiles


def test_a_rename_never_replaces(tmp_path: Path) -> None:
    files = LocalFiles()
    for name in ("a", "b"):
        with files.open_output(str(tmp_path / name)) as file:
            file.write(name.encode())
        with files.open_output(str(tmp_path / f"folder-{name}" / "x")) as file:
            file.write(name.encode())
    for source, target in (("a", "b"), ("folder-a", "folder-b")):
        with pytest.raises(FileExistsError):
            files.rename_new(str(tmp_path / source), str(tmp_path / target))
    assert (tmp_path / "b").read_text() == "b"
    assert (tmp_path / "folder-b" / "x").read_text() == "b"
    assert (tmp_path / "a").exists()


def test_a_link_is_removed_and_not_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    LocalFiles().remove(str(tmp_path / "link"))
    assert (tmp_path / "real" / "file").exists()
