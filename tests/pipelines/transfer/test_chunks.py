"""Split and merge: every byte accounted for, every bad chunk named, nothing half visible."""

import json
from pathlib import Path

import pytest

from millrace.errors import DataRejected, InputMissing, Refused
from millrace.failpoints import ENVIRONMENT, FailpointFired
from pipelines.transfer.chunks import MANIFEST, ChunkManifest, ChunksDamaged, merge, split

SIZE = 1000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a b.bin"
    path.write_bytes(bytes(number * 7 % 251 for number in range(4 * SIZE + 1)))
    return path


@pytest.fixture
def folder(file: Path, tmp_path: Path) -> Path:
    split(file, tmp_path / "chunks", SIZE)
    return tmp_path / "chunks"


def test_there_and_back(file: Path, folder: Path, tmp_path: Path) -> None:
    manifest = ChunkManifest.model_validate_json((folder / MANIFEST).read_bytes())
    assert (manifest.name, manifest.size, len(manifest.chunks)) == ("a b.bin", 4 * SIZE + 1, 5)
    assert [chunk.length for chunk in manifest.chunks] == [SIZE] * 4 + [1]
    assert sorted(path.name for path in folder.iterdir()) == [*(f"{n:06d}.chunk" for n in range(5)), MANIFEST]
    assert split(file, folder, SIZE).outcome == "already"
    assert merge(folder).outcome == "already"
    moved = merge(folder, tmp_path / "back" / "x")
    assert (moved.outcome, moved.sent) == ("committed", 4 * SIZE + 1)
    assert (tmp_path / "back" / "x").read_bytes() == file.read_bytes()
    assert list(tmp_path.rglob(".*")) == []


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "e").touch()
    split(tmp_path / "e", tmp_path / "chunks", SIZE)
    merge(tmp_path / "chunks", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b""


def test_every_bad_chunk_is_named_and_the_good_ones_are_kept(folder: Path, file: Path, tmp_path: Path) -> None:
    kept = (folder / "000001.chunk").read_bytes()
    (folder / "000001.chunk").write_bytes(b"x" + kept[1:])
    (folder / "000002.chunk").unlink()
    (folder / "000004.chunk").write_bytes(b"")
    with pytest.raises(ChunksDamaged) as caught:
        merge(folder, tmp_path / "x")
    assert caught.value.bad == (
        "000001.chunk has changed",
        "000002.chunk is missing",
        "000004.chunk has 0 bytes instead of 1",
    )
    assert "3 bad: 000001.chunk has changed, 000002" in str(caught.value)
    assert not (tmp_path / "x").exists()
    data = file.read_bytes()
    for number in (1, 2, 4):
        (folder / f"{number:06d}.chunk").write_bytes(data[number * SIZE : (number + 1) * SIZE])
    assert merge(folder, tmp_path / "x").sent == 2 * SIZE + 1
    assert (tmp_path / "x").read_bytes() == data


@pytest.mark.parametrize("point", ["transfer.part_done", "transfer.before_rename"])
def test_interrupted_it_goes_on(point: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = 0 if point.endswith("rename") else 3 * SIZE + 1
    monkeypatch.setenv(ENVIRONMENT, f"{point}=raise")
    with pytest.raises(FailpointFired):
        split(file, tmp_path / "chunks", SIZE)
    assert not (tmp_path / "chunks").exists()
    monkeypatch.delenv(ENVIRONMENT)
    assert split(file, tmp_path / "chunks", SIZE).sent == left
    monkeypatch.setenv(ENVIRONMENT, f"{point}=raise")
    with pytest.raises(FailpointFired):
        merge(tmp_path / "chunks", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    monkeypatch.delenv(ENVIRONMENT)
    assert merge(tmp_path / "chunks", tmp_path / "x").sent == left
    assert (tmp_path / "x").read_bytes() == file.read_bytes()


def test_what_is_there_is_not_replaced(file: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="exists already"):
        split(file, folder, SIZE + 1)
    (tmp_path / "x").write_bytes(b"mine")
    with pytest.raises(Refused, match="exists already"):
        merge(folder, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"mine"
    (folder / "000003.chunk").unlink()
    with pytest.raises(ChunksDamaged, match=r"000003\.chunk is missing"):
        split(file, folder, SIZE)


def test_nothing_to_work_on(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="there is no file"):
        split(tmp_path / "x", tmp_path / "y", SIZE)
    with pytest.raises(InputMissing, match=f"there is no {MANIFEST}"):
        merge(tmp_path / "x")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", "../../etc/passwd", "do not cover the file"),
        ("size", 5, "do not cover the file"),
        ("chunks", [], "do not cover the file"),
        ("sha256", "x", "is not a manifest of chunks"),
        ("other", 1, "is not a manifest of chunks"),
        ("sha256", "0" * 64, "the file differs from manifest"),
    ],
)
def test_a_manifest_that_cannot_be(key: str, value: object, message: str, folder: Path, tmp_path: Path) -> None:
    note = folder / MANIFEST
    note.write_text(json.dumps({**json.loads(note.read_text()), key: value}))
    with pytest.raises(DataRejected, match=message):
        merge(folder, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_message_does_not_grow_with_the_chunks(tmp_path: Path) -> None:
    error = ChunksDamaged(tmp_path, [f"{number:06d}.chunk is missing" for number in range(1000)])
    assert "1000 bad" in str(error)
    assert "and 980 more" in str(error)
