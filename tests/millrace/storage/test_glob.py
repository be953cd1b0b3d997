"""Files that a path names: itself, all below a folder, or what a pattern matches."""

from pathlib import Path

import pytest

from millrace.storage import LocalFiles, find_entries

NAMES = (
    "a.csv", "b.csv", "c.txt", "_hidden.csv", ".dot.csv", "d.csv._COPYING_", "dt=1/x.csv", "dt=2/x.csv",
    "dt=2/deep/y.csv", "_tmp/z.csv", "[odd]*.csv",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("a.csv", ["a.csv"]),
        ("_hidden.csv", ["_hidden.csv"]),
        ("[odd]*.csv", ["[odd]*.csv"]),
        ("*.csv", ["[odd]*.csv", "a.csv", "b.csv"]),
        ("[ab].c?v", ["a.csv", "b.csv"]),
        ("_*.csv", ["_hidden.csv"]),
        ("dt=*/*.csv", ["dt=1/x.csv", "dt=2/x.csv"]),
        ("dt=*", ["dt=1/x.csv", "dt=2/deep/y.csv", "dt=2/x.csv"]),
        ("dt=2/", ["dt=2/deep/y.csv", "dt=2/x.csv"]),
        ("**/?.csv", ["a.csv", "b.csv", "dt=1/x.csv", "dt=2/deep/y.csv", "dt=2/x.csv"]),
        ("no/*.csv", []),
        ("a.csv/*", []),
    ],
)
def test_names(folder: Path, path: str, names: list[str]) -> None:
    found = find_entries(LocalFiles(), f"{folder}/{path}")
    assert [entry.path.removeprefix(f"{folder}/") for entry in found] == names
    assert all(entry.size == len(entry.path.removeprefix(f"{folder}/")) for entry in found)


def test_a_plain_path_must_be_there(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        find_entries(LocalFiles(), f"{folder}/none.csv")
