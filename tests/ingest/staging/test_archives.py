"""Archives: known by their bytes, read in pieces, refused when damaged."""

import bz2
import zipfile
from pathlib import Path

import pytest

from ingest.errors import FileUnreadable
from ingest.staging import archives
from ingest.staging.archives import find_parts
from millrace.errors import ArtifactNotFound
from tests.ingest.small import gzipped, zipped

TEXT = b"a,b\n1,2\n"


def write(folder: Path, data: bytes, name: str = "data") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def read(path: Path) -> dict[str, bytes]:
    return {part.name: b"".join(part.chunks()) for part in find_parts(str(path))}


@pytest.mark.parametrize("name", ["a.csv", "a.gz", "a.zip", "a"])
def test_the_name_does_not_count(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for data in (TEXT, gzipped(TEXT), bz2.compress(TEXT)):
        path.write_bytes(data)
        assert read(path) == {str(path): TEXT}
    path.write_bytes(zipped(tmp_path / "made", in_csv=TEXT))
    assert read(path) == {f"{path}!in.csv": TEXT}


def test_every_member_is_a_part_but_folders_and_hidden_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("x/", "x/1.csv", "../2.csv", "__MACOSX/x/1.csv", "x/.DS_Store"):
            archive.writestr(name, TEXT if name.endswith("csv") else b"")
    assert list(read(path)) == [f"{path}!x/1.csv", f"{path}!../2.csv"]


def damaged_zip(folder: Path) -> bytes:
    data = bytearray(zipped(folder / "made", in_csv=TEXT * 100))
    data[40] ^= 0xFF
    return bytes(data)


def test_damage_is_told_with_the_name(tmp_path: Path) -> None:
    gz, whole = gzipped(TEXT * 100), zipped(tmp_path / "made", in_csv=TEXT)
    flipped = bytearray(gz)
    flipped[-6] ^= 0xFF
    bz = bz2.compress(TEXT * 100)
    spoilt = bz[:20] + bytes([bz[20] ^ 1]) + bz[21:]
    for data in (gz[:-9], bytes(flipped), damaged_zip(tmp_path), whole[:-30], bz[:-9], spoilt):
        path = write(tmp_path, data)
        with pytest.raises(FileUnreadable, match=r"data.*(damaged|cannot be unpacked)"):
            read(path)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    data = bytearray(zipped(tmp_path / "made", in_csv=TEXT))
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + at] |= 1
    with pytest.raises(FileUnreadable, match="encrypted"):
        read(write(tmp_path, bytes(data)))


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "BOMB_BYTES", 1 << 20)
    zeros = b"0" * (3 << 20)
    for data in (gzipped(zeros), bz2.compress(zeros), zipped(tmp_path / "made", in_csv=zeros)):
        with pytest.raises(FileUnreadable, match="unpacks to more than"):
            read(write(tmp_path, data))
    assert read(write(tmp_path, zeros))


@pytest.mark.case("B20")
def test_a_bomb_of_many_small_members_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the members alone unpacks to less than an archive may."""
    monkeypatch.setattr(archives, "BOMB_BYTES", 1 << 20)
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for number in range(20):
            archive.writestr(f"{number}.csv", b"0" * (1 << 20))
    allowed = path.stat().st_size * archives.BOMB_RATIO
    with pytest.raises(FileUnreadable, match=f"the archive unpacks to more than {allowed} bytes"):
        read(path)
    first, *_ = find_parts(str(path))
    for _ in range(10):
        assert sum(map(len, first.chunks())) == 1 << 20  # the same member again is no other one


@pytest.mark.case("B20")
def test_a_zip_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(4):
            archive.writestr(f"{number}.csv", TEXT)
            archive.writestr(f".{number}", b"")
    with pytest.raises(FileUnreadable, match=r"many\.zip: the zip holds 4 files, allowed are 3"):
        find_parts(str(path))


@pytest.mark.case("B6")
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_two_members_of_one_name_are_both_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for data in (b"first", b"second"):
            archive.writestr("a.csv", data)
    assert [b"".join(part.chunks()) for part in find_parts(str(path))] == [b"first", b"second"]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactNotFound):
        find_parts(str(tmp_path / "none"))
