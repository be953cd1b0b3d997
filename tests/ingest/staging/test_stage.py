"""Staging: headers are compared before Spark sees a file, and names of users never reach it."""

import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from ingest.errors import FileUnreadable, HeaderMismatch
from ingest.staging.folder import STALE_S, staging_folder
from ingest.staging.lines import LineCount
from ingest.staging.shape import Shape
from ingest.staging.stage import stage
from ingest.staging.staged_file import StagedFile
from millrace.config.checks.reader_options import read_options
from millrace.config.sections.sources import Source
from millrace.storage import Store
from tests.ingest.small import csv, gzipped, zipped

COLUMNS = ["a", "b"]


def staged(folder: Path, data: bytes, name: str = "data.csv", **options: Any) -> list[StagedFile]:
    path = folder / name
    path.write_bytes(data)
    columns = {"a": "int", "b": "string"}
    source = Source.model_validate({"path": [name], "columns": columns, "options": options})
    prefix = str(folder / f"staged{time.monotonic_ns()}" / "00000")
    return stage(str(path), prefix, Shape.of(source), read_options(source))


def path_of(file: StagedFile) -> Path:
    return Path(unquote(urlsplit(file.uri).path))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("b,a", r"the order differs from column 1 on; expected 'a', 'b'; found 'b', 'a'"),
        ("a", r"missing 'b'"),
        ("a,b,c", r"unexpected 'c'"),
        ("a,B", r"missing 'b', unexpected 'B'"),
        pytest.param("a,b,b", r"'b' occurs more than once; expected 'a', 'b'", marks=pytest.mark.case("M")),
        ("a,b ", r"unexpected 'b '"),
        ("a;b", r"missing 'a', 'b', unexpected 'a;b'"),
        ("1,x", r"missing 'a', 'b'"),
    ],
)
def test_a_header_that_is_not_the_columns(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(HeaderMismatch, match=message) as caught:
        staged(tmp_path, csv(header, "1,x"))
    assert "data.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (csv("a,b", "1,x"), {}),
        (csv('"a","b"', "1,x"), {}),
        (csv("a,b", "1,x", end="\r\n"), {}),
        (csv("a,b", "1,x", end="\r"), {}),
        (b"\xef\xbb\xbf" + csv("a,b", "1,x"), {}),
        (csv("a;b", "1;x"), {"sep": ";"}),
        (csv("'a','b'", "1,x"), {"quote": "'"}),
        (csv(" a ,b ", "1,x"), {"ignoreLeadingWhiteSpace": True}),
        (csv("a,b", "1,ä").decode().encode("utf-16"), {"encoding": "utf-16"}),
        (csv("a,b", "1,ä").decode().encode("cp1252"), {"encoding": "cp1252"}),
    ],
)
def test_a_header_that_is(tmp_path: Path, data: bytes, options: dict[str, Any]) -> None:
    (file,) = staged(tmp_path, data, **options)
    assert file.lines == LineCount(rows=1, headers=1)
    path_of(file).read_text("utf-8")


def test_blank_lines_before_the_header(tmp_path: Path) -> None:
    (file,) = staged(tmp_path, csv("", " ", "a,b", "1,x"))
    assert (file.header, file.lines) == ("a,b", LineCount(rows=1, blank=2, headers=1))


def test_without_a_header(tmp_path: Path) -> None:
    (file,) = staged(tmp_path, csv("1,x", "2,y"), header=False)
    assert (file.header, file.lines) == (None, LineCount(rows=2))


def test_members_are_checked_one_by_one(tmp_path: Path) -> None:
    good, bad = csv("a,b", "1,x"), csv("b,a", "x,1")
    files = staged(tmp_path, zipped(tmp_path / "made", x_csv=good, y_csv=good))
    assert [file.name.rpartition("!")[2] for file in files] == ["x.csv", "y.csv"]
    assert [file.file for file in files] == ["00000-00000", "00000-00001"]
    with pytest.raises(HeaderMismatch, match=r"data\.csv!y\.csv"):
        staged(tmp_path, zipped(tmp_path / "made", x_csv=good, y_csv=bad))


def test_a_plain_file_is_not_copied(tmp_path: Path) -> None:
    (plain,) = staged(tmp_path, csv("a,b", "1,x"), "_odd [name]*.gz")
    assert path_of(plain).is_symlink()
    (packed,) = staged(tmp_path, gzipped(csv("a,b", "1,x")))
    assert path_of(packed).read_bytes() == csv("a,b", "1,x")


def test_bytes_that_are_not_the_encoding(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadable, match="not utf-16"):
        staged(tmp_path, csv("a,b", "1,x").decode().encode("utf-16") + b"x", encoding="utf-16")


def test_something_else_than_text(tmp_path: Path) -> None:
    with pytest.raises((HeaderMismatch, FileUnreadable)) as caught:
        staged(tmp_path, b"PAR1" + bytes(range(256)) * 9_000)
    assert len(str(caught.value)) < 3_000


def test_the_folder_goes_away_even_after_an_error(store: Store) -> None:
    with pytest.raises(KeyError), staging_folder(store, "run1") as folder:
        (Path(folder) / "sub").mkdir(parents=True)
        raise KeyError
    assert not Path(folder).exists()


def test_what_a_killed_run_left_is_removed_later(store: Store) -> None:
    fresh, old = Path(store.uri(".staging", "fresh")), Path(store.uri(".staging", "old"))
    for path in (fresh, old):
        path.mkdir(parents=True)
    os.utime(old, (time.time() - STALE_S - 60,) * 2)
    with staging_folder(store, "run1"):
        assert fresh.exists()
        assert not old.exists()


@pytest.mark.case("B19")
def test_an_old_folder_that_its_run_removes_meanwhile(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put(b"x", ".staging", "other", "file")
    names = type(store.files).names

    def names_before_the_other_run_ends(files: Any, path: str) -> list[str]:
        found = names(files, path)
        store.remove(".staging", "other")
        return found

    monkeypatch.setattr(type(store.files), "names", names_before_the_other_run_ends)
    with staging_folder(store, "mine") as folder:
        assert folder.endswith("/mine")
