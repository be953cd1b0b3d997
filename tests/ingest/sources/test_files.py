"""Files of sources: their digests, what their folders say, and whether somebody writes to them."""

from pathlib import Path

import pytest

from ingest.errors import DigestMismatch, SourceChanged
from ingest.sources.files import find_files, snapshot_of, values_of
from millrace.digests import sha256_of
from millrace.errors import ConfigError, InputMissing
from tests.ingest.small import Small, things


def test_digests(tmp_path: Path) -> None:
    data = things(3)
    small = Small(tmp_path).source(data)
    found = find_files(small.build(), "things").sha256
    assert found == sha256_of(tmp_path / "things.csv")
    small.source(data, sha256=found)
    find_files(small.build(), "things")
    small.source(data + b"4,x,1,1\n", sha256=found)
    with pytest.raises(DigestMismatch, match=f"declared is {found}"):
        find_files(small.build(), "things")


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    product = Small(tmp_path).source(things(3)).build()

    def refuse(path: str, *_: object) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("ingest.sources.files.digest_at", refuse)
    with pytest.raises(ConfigError, match=r"no permission.*things\.csv"):
        find_files(product, "things")
    (tmp_path / "things.csv").unlink()
    with pytest.raises(InputMissing, match=r"things\.csv"):
        find_files(product, "things")


def test_values_in_the_names_of_folders() -> None:
    columns = {"dt": "date", "site": "string", "year": "int"}
    path = "/data/dt=2024-01-31/site=a%2Fb=c/other=1/year=__HIVE_DEFAULT_PARTITION__/dt=x.csv"
    assert values_of(path, columns) == {"dt": "2024-01-31", "site": "a/b=c", "year": None}


def test_the_same_bytes_in_another_folder_are_other_rows(tmp_path: Path) -> None:
    small = Small(tmp_path).source(b"1\n", file="id=1/a.csv")
    small.source(b"1\n", file="id=2/a.csv").sources["things"]["path"] = "id=*/*.csv"
    first, second = find_files(small.build(), "things").files
    assert (first.sha256, first.name, first.values) == (second.sha256, second.name, {"id": "1"})
    assert first.digest != second.digest
    assert snapshot_of("s", [first, second]).sha256 == snapshot_of("s", [second, first]).sha256
    assert snapshot_of("s", [first]).sha256 == first.digest


def test_a_file_that_is_written_to(tmp_path: Path) -> None:
    (file,) = find_files(Small(tmp_path).source(b"1\n").build(), "things").files
    file.check_unchanged()
    (tmp_path / "things.csv").write_bytes(b"2\n3\n")
    with pytest.raises(SourceChanged, match="changed while it was read"):
        file.check_unchanged()
